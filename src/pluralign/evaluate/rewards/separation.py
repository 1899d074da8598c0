"""How well rewards tell where an answer comes from: heterogeneity (Inverse-RLignment, figure 2), measured.

A reward model that separates sources of equal quality, or a text from the same text in another style, reads
style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pluralign.core import InputError
from pluralign.evaluate.statistics import CONFIDENCE, RESAMPLES, Estimate, FloatArray, estimate

Answers = Mapping[str, Sequence[float]]
"""Rewards of a source's answers, by prompt."""


@dataclass(frozen=True)
class Separation:
    """How far one reward separates two kinds of answers to the same prompts.

    Args:
        first: the one kind.
        second: the other.
        auc: probability that an answer of the second kind has the greater reward, ties counting half: 0.5
            says that the reward does not tell them apart. The mean over prompts, each of one weight, with a
            bootstrap interval over prompts; where all prompts agree the interval has no width.
        prompts: that have answers of both kinds.
        left_out: prompts that have answers of one kind only; of style edits, answers that the edit leaves
            unchanged.
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
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Separation:
    """The AUC of two sources: Mann-Whitney's statistic within each prompt that both answer.

    Answers to different prompts are never compared: a reward is a reward of an answer to its prompt.

    Args:
        first: rewards of a source's answers, by prompt.
        second: rewards of another's.
        names: of the two.
        confidence: of the interval.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        InputError: fewer than two shared prompts, or a reward that is not finite.
    """
    shared = [prompt for prompt in first if len(first[prompt]) and len(second.get(prompt, ()))]
    _check_prompts(len(shared), names)
    by_prompt: list[float] = []
    for prompt in shared:
        one, other = (_finite(kind[prompt], prompt) for kind in (first, second))
        by_prompt.append(float(_above(other[:, None], one[None, :]).mean()))
    auc = estimate(by_prompt, confidence=confidence, resamples=resamples, seed=seed)
    return Separation(*names, auc, len(shared), len({*first, *second}) - len(shared))


def separations(sources: Mapping[str, Answers], *, seed: int = 0) -> list[Separation]:
    """`separation` of every pair of sources, in the order in which they are given.

    Raises:
        InputError: fewer than two sources, or see `separation`.
    """
    if len(sources) < 2:
        raise InputError(f"expected two sources or more, found {len(sources)}")
    return [
        separation(sources[one], sources[other], names=(one, other), seed=seed)
        for one, other in combinations(sources, 2)
    ]


def style_separation(
    original: Answers,
    edited: Mapping[str, Sequence[float | None]],
    *,
    name: str = "edited",
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Separation:
    """The AUC of texts against the same texts in another style, each text against itself.

    Args:
        original: rewards of the texts, by prompt.
        edited: of the same texts after a style edit, in the same order; None where the edit changed
            nothing, which is left out and counted.
        name: of the edit.
        confidence: of the interval.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        InputError: other prompts or numbers of texts, fewer than two prompts with a changed text, or a
            reward that is not finite.
    """
    if {prompt: len(texts) for prompt, texts in original.items()} != {p: len(t) for p, t in edited.items()}:
        raise InputError(f"expected a reward, or None, for each original text, of the edit '{name}'")
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
    auc = estimate(by_prompt, confidence=confidence, resamples=resamples, seed=seed)
    return Separation(*names, auc, len(by_prompt), left_out)


def _above(second: FloatArray, first: FloatArray) -> FloatArray:
    """1 where the second is greater, 1/2 where both are equal, 0 else."""
    return (np.sign(second - first) + 1.0) / 2.0


def _finite(rewards: Sequence[float] | Sequence[tuple[float, float]], prompt: str) -> FloatArray:
    array = np.asarray(rewards, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"expected finite rewards of the answers to {prompt!r:.60}, found {array.tolist()}")
    return array


def _check_prompts(count: int, names: tuple[str, str]) -> None:
    if count < 2:
        raise InputError(f"'{names[0]}' and '{names[1]}' share {count} prompts; two or more are needed")
