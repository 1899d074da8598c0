"""Separation of sources of answers by rewards: heterogeneity (Inverse-RLignment, figure 2), measured.

A reward model that separates sources of equal quality, or a text from the same text in another style, depends
on style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.evaluate.statistics import RESAMPLES, Estimate, estimate

Answers = Mapping[str, Sequence[float]]
"""Rewards of a source's answers, by prompt."""


@dataclass(frozen=True)
class Separation:
    """Separation of two kinds of answers to the same prompts by one reward.

    Args:
        first: Name of the first kind.
        second: Name of the second kind.
        auc: Probability that an answer of the second kind has the higher reward, ties counting half; 0.5
            means no separation. It is the mean over prompts of equal weight, with a bootstrap interval over
            prompts; if all prompts agree, the interval has width 0.
        prompts: Number of prompts with answers of both kinds.
        left_out: Number of prompts with answers of one kind only; for style edits, number of answers that the
            edit does not change.
    """

    first: str
    second: str
    auc: Estimate
    prompts: int
    left_out: int


def separation(
    first: Answers,
    second: Answers,
    *,
    names: tuple[str, str] = ("first", "second"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Separation:
    """AUC of two sources: the Mann-Whitney statistic within each prompt that both answer.

    Answers to different prompts are never compared.

    Args:
        first: Rewards of the first source's answers, by prompt.
        second: Rewards of the second source's answers, by prompt.
        names: Names of the two sources.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Raises:
        InputError: There are fewer than two common prompts, or a reward is not finite.
    """
    shared = [prompt for prompt in first if len(first[prompt]) and len(second.get(prompt, ()))]
    _check_prompts(len(shared), names)
    by_prompt: list[float] = []
    for prompt in shared:
        one, other = (_finite(kind[prompt], prompt) for kind in (first, second))
        by_prompt.append(float(_above(other[:, None], one[None, :]).mean()))
    auc = estimate(by_prompt, resamples=resamples, seed=seed).within(0.0, 1.0)
    return Separation(*names, auc, len(shared), len({*first, *second}) - len(shared))


def separations(sources: Mapping[str, Answers], *, seed: int = 0) -> list[Separation]:
    """`separation` of every pair of sources, in the given order.

    Raises:
        InputError: There are fewer than two sources; or see `separation`.
    """
    if len(sources) < 2:
        raise InputError(f"expected at least two sources, found {len(sources)}")
    return [
        separation(sources[one], sources[other], names=(one, other), seed=seed)
        for one, other in combinations(sources, 2)
    ]


def style_separation(
    original: Answers,
    edited: Mapping[str, Sequence[float | None]],
    *,
    name: str = "edited",
    seed: int = 0,
) -> Separation:
    """AUC of texts against the same texts in another style, each text compared with itself.

    Args:
        original: Rewards of the texts, by prompt.
        edited: Rewards of the same texts after a style edit, in the same order; None for texts that the edit
            did not change, which are left out and counted.
        name: Name of the edit.
        seed: Random seed of the resampling.

    Raises:
        InputError: The prompts or numbers of texts differ, fewer than two prompts have a changed text, or a
            reward is not finite.
    """
    if {prompt: len(texts) for prompt, texts in original.items()} != {p: len(t) for p, t in edited.items()}:
        raise InputError(f"expected a reward or None for each original text of the edit '{name}'")
    by_prompt: list[float] = []
    left_out = 0
    for prompt, after in edited.items():
        changed = [(a, b) for a, b in zip(original[prompt], after, strict=True) if b is not None]
        left_out += len(after) - len(changed)
        if changed:
            one, other = _finite(changed, prompt).T
            by_prompt.append(float(_above(other, one).mean()))
    names = ("original", name)
    _check_prompts(len(by_prompt), names)
    auc = estimate(by_prompt, seed=seed).within(0.0, 1.0)
    return Separation(*names, auc, len(by_prompt), left_out)


def _above(second: FloatArray, first: FloatArray) -> FloatArray:
    """1 where the second is greater, 1/2 where both are equal, otherwise 0."""
    return (np.sign(second - first) + 1.0) / 2.0


def _finite(rewards: Sequence[float] | Sequence[tuple[float, float]], prompt: str) -> FloatArray:
    array = np.asarray(rewards, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"expected finite rewards of the answers to {prompt!r:.60}, found {array.tolist()}")
    return array


def _check_prompts(count: int, names: tuple[str, str]) -> None:
    if count < 2:
        raise InputError(f"'{names[0]}' and '{names[1]}' share {count} prompts; at least two are needed")
