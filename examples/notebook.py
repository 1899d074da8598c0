"""Five tasks of a notebook in a few lines each: rewards, scores, steering, a sweep, a custom loss."""

from functools import partial

import pluralign as pl

MODEL = "tiny-random"  # try "smollm2-135m"
TRAINING = pl.Training(epochs=8, learning_rate=3e-3, lora_rank=8)
WORDS = [f"{a}{b}" for a in "abcd" for b in "efgh"]
ROWS = [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" {w}."} for w in WORDS]
TURNED = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in ROWS]
FOLDER = "runs/notebook"

# (a) A reward model from a data set (rows, a file, a folder, a hub id or a datasets.Dataset), with any loss.
lively = pl.load_pairs(ROWS, objective="lively")
calm = pl.load_pairs(TURNED, objective="calm")
rewards = {"lively": pl.fit_reward(lively, model=MODEL, loss=pl.losses.bradley_terry, training=TRAINING)}
rewards["calm"] = pl.fit_reward(calm, model=MODEL, loss=pl.losses.learned_variance, training=TRAINING)

# (b) Scores of completions, and of their sentences and tokens.
scores = rewards["lively"].score(["Say ae:", "Say ae:"], [" ae!", " ae."])
print("scores", scores.round(2))
print("tokens", [(s.text, round(s.mean, 2)) for s in rewards["lively"].tokens("Say ae:", " ae! ae.")])
print("sentences", [(s.text, round(s.mean, 2)) for s in rewards["lively"].sentences("Say ae:", " ae! ae.")])

# (c) Two policies: an answer under given weights, and the same as a stream.
pl.fit_policy(lively, model=MODEL, training=TRAINING, out=f"{FOLDER}/lively")
pl.fit_policy(calm, model=MODEL, training=TRAINING, out=f"{FOLDER}/calm")
mix = pl.load_policies(MODEL, lively=f"{FOLDER}/lively", calm=f"{FOLDER}/calm")
print("answer", repr(mix.generate("Say ae:", weights={"lively": 0.7, "calm": 0.3}, max_new_tokens=6)))
for piece in mix.stream("Say ae:", weights={"lively": 0.7, "calm": 0.3}, max_new_tokens=6):
    print(piece, end="|")

# (d) A sweep over the weights: the front, its hypervolume, a figure.
found = pl.sweep(mix, [row["prompt"] for row in ROWS[:8]], rewards=rewards, steps=4, max_new_tokens=6)
print("\nfront", [dict(point.weights) for point in found.front])
print("hypervolume", found.hypervolume.mean, "interval", found.hypervolume.low, found.hypervolume.high)
found.save(f"{FOLDER}/sweep")


# (e) A custom loss.
def hinge(chosen, rejected, reference_chosen, reference_rejected, *, margin=1.0):
    return (margin - (chosen - reference_chosen) + (rejected - reference_rejected)).relu()


policy = pl.fit_policy(lively, model=MODEL, loss=partial(hinge, margin=2.0), training=TRAINING)
print("own loss:", policy.name)
