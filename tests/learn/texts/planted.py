"""Pairs with a planted preference (an exclamation mark), rewards of texts, and all learners by name."""

from functools import partial

import numpy as np

from pluralign.core import Decision, PreferencePair, Segment, Step
from pluralign.learn.texts.ava import fit_ava_d, fit_ava_p
from pluralign.learn.texts.heads import MAHDPOConfig, fit_mah_dpo
from pluralign.learn.texts.policies import fit_dpo, fit_policy
from pluralign.learn.texts.rewards import (
    fit_bradley_terry,
    fit_bt_variance,
    fit_discriminator,
    fit_preference_transformer,
)
from pluralign.learn.texts.sft import SFTConfig, fit_sft
from pluralign.losses import ipo, simpo


def by_loss(loss, **reading):
    """A learner like the others, from a loss."""
    return lambda data, run: fit_policy(
        data, model=run.model, out=run.out, training=run.training, seed=run.seed, loss=loss, **reading
    )


def by_heads(trunk):
    """Two heads, each on half of the pairs, as a learner like the others."""
    return lambda data, run: fit_mah_dpo(
        {"lively": data[::2], "calm": data[1::2]}, run, MAHDPOConfig(rank=2, trunk=trunk)
    )


LEARNERS = {
    "bradley-terry": fit_bradley_terry,
    "bt-variance": fit_bt_variance,
    "preference-transformer": fit_preference_transformer,
    "ava-p": fit_ava_p,
    "ava-d": fit_ava_d,
    "discriminator": fit_discriminator,
    "dpo": fit_dpo,
    "ipo": by_loss(partial(ipo, tau=0.5)),
    "simpo": by_loss(simpo, per_token=True, reference=False),
    "sft": fit_sft,
    "occupancy-sft": lambda data, run: fit_sft(data, run, SFTConfig(occupancy=True)),
    "frozen-heads": by_heads("frozen"),
    "joint-heads": by_heads("joint"),
    "contrastive-sft": lambda data, run: fit_sft(data, run, SFTConfig(contrastive=True)),
}


def pairs(count, seed=0, split="train"):
    """Words of three letters; the chosen completion ends with '!', the rejected one with '.'."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        word = "".join(rng.choice(list("abcdefghij"), 3))
        options = (f" {word}!", f" {word}.") if rng.random() < 0.5 else (f" {word}.", f" {word}!")
        decision = Decision(f"{seed} {number} say {word}:", options)
        chosen = 0 if options[0].endswith("!") else 1
        ends = [Segment(f"{number}-{i}", 0, (Step(decision, i),)) for i in (chosen, 1 - chosen)]
        found.append(PreferencePair(*ends, objective="lively", split=split))
    return found


def letters(prompts, completions):
    """Number of ASCII letters."""
    return [sum(c.isascii() and c.isalpha() for c in text) for text in completions]


def low(prompts, completions):
    """Minus the mean code point, in hundreds."""
    return [-sum(map(ord, text)) / 100 / max(1, len(text)) for text in completions]
