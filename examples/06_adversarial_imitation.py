"""Alternating training of a discriminator and a policy, until the policy matches the demonstrator's
frequencies."""

import random
import tempfile
from pathlib import Path

import pluralign as pl
from pluralign.folders.card import load_card
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.losses.adversarial import AIRL  # try FAIRL, GAIL or alpha_divergence(0.5)
from pluralign.rewards.export import export_folder


def answers(count, share, split="train"):
    """Answers that end with an exclamation mark with this probability, otherwise with a full stop."""
    rng = random.Random(f"{split} {share}")
    prompts = [f"{split} {number:03d} say:" for number in range(count)]
    return [pl.Demonstration(prompt, "!" if rng.random() < share else ".", split=split) for prompt in prompts]


def exclaims(policy):
    """Share of exclamation marks in 200 answers."""
    prompts = [row.prompt for row in answers(200, 0.5, "test")]
    drawn = draw_samples(policy, prompts, 1, Decoding(2), seed=0, label="example")
    return sum(texts == ["!"] for texts in drawn.values()) / 200


with tempfile.TemporaryDirectory() as folder:
    base, out = Path(folder, "base"), Path(folder, "imitation")
    # An initial policy with exclamation marks in three answers of ten; "smollm2-135m" would work as well.
    training = pl.Training(epochs=6, learning_rate=3e-3, batch_size=16)
    pl.learn.fit_sft(answers(256, 0.3), pl.learn.Run("tiny-random", Path(folder, "sft"), training))
    export_folder(Path(folder, "sft"), base)

    shown = answers(256, 0.8) + answers(64, 0.8, "validation")
    config = pl.learn.AdversarialConfig(
        rounds=5, prompts=64, samples=8, max_new_tokens=2,
        discriminator=pl.Training(learning_rate=1e-3, batch_size=32),
    )  # fmt: skip
    training = pl.Training(learning_rate=4e-4, batch_size=32)
    policy = pl.learn.fit_adversarial(shown, pl.learn.Run(str(base), out, training), config, divergence=AIRL)

    for figures in load_card(out).figures["rounds"]:
        print({name: figures[name] for name in ("round", "accuracy", "reward", "reward_after", "kl")})
    print(
        "exclamation marks: shown 0.8, before", exclaims(load_backbone(str(base))), "after", exclaims(policy)
    )
