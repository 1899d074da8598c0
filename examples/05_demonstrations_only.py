"""From demonstrations alone to a reward model and better answers, without stated preferences."""

import tempfile
from pathlib import Path

import pluralign as pl
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_completions
from pluralign.lm.prompts import prompt_ids
from pluralign.pair.recipes import pair_completions
from pluralign.rewards.ensemble import RewardEnsemble, measure_scales

MODEL = "tiny-random"  # try "smollm2-135m"
WORDS = [a + b for a in "abcdefgh" for b in "klmn"]
# The demonstrator repeats a word, with an exclamation mark.
SHOWN = [pl.Demonstration(f"Say {word}:", f" {word}!", objective="lively") for word in WORDS]
PROMPTS = [row.prompt for row in SHOWN]


def draw(backbone, samples, temperature=1.0):
    """Completions of every prompt as rows."""
    ids = [prompt_ids(backbone.tokenizer, prompt) for prompt in PROMPTS]
    seeds = [list(range(samples))] * len(ids)
    drawn = draw_completions(backbone, ids, seeds, Decoding(4, temperature))
    return [
        pl.Demonstration(prompt, text)
        for prompt, texts in zip(PROMPTS, drawn, strict=True)
        for text in texts
        if text.strip()
    ]


with tempfile.TemporaryDirectory() as folder:
    training = pl.Training(epochs=25, learning_rate=3e-3, bf16=False)
    policy = pl.learn.fit_sft(SHOWN, pl.learn.Run(MODEL, Path(folder, "sft"), training))

    # Init-SFT: samples of the fine-tuned model are preferred to those of the base model. Both come from the
    # same kind of model, so the reward cannot rely on features that only the author of the demonstrations
    # has.
    init_sft = pair_completions(draw(policy, 4), draw(load_backbone(MODEL), 4), objective="lively")
    learned = pl.learn.fit_discriminator(
        init_sft, pl.learn.Run(MODEL, training=pl.Training(epochs=4, learning_rate=3e-3))
    )
    closed_form = pl.load_closed_form(Path(folder, "sft"))

    # Best of 16 by the trained reward, by the likelihood ratio, which needs no training, and by both.
    asked = pl.Decision(PROMPTS[0], tuple(dict.fromkeys(row.completion for row in draw(policy, 16)[:16])))
    both = [learned, closed_form]
    ensemble = RewardEnsemble(both, measure_scales(both, [asked]))
    for scorer in (*both, ensemble):
        rewards = scorer.score_decisions([asked])[0].mean
        print(f"{scorer.name:>18}: best of {len(rewards)}: {asked.options[rewards.argmax()]!r}")
    good, bad = learned.score(["Say cl:"] * 2, [" cl!", " xq"])
    print("an answer as demonstrated is worth more:", bool(good > bad))
