"""Accuracy of reward models on preference pairs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pluralign.core import Decision, Examples, InputError, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.data.reading import holds_quoted
from pluralign.evaluate.statistics import wilson
from pluralign.rewards.reward import Reward, template_of

Part = Literal["train", "validation", "test", "all"]
"""Split of pairs, or all pairs."""
_BATCH = 64


@dataclass(frozen=True)
class RewardAccuracy:
    """Share of pairs whose chosen completion has the higher reward.

    Args:
        accuracy: Accuracy, between 0 and 1; a pair with equal rewards counts half.
        low: Lower end of the 95 % interval (Wilson's, which is valid near 0 and 1).
        high: Upper end of the interval.
        pairs: Number of pairs with a label.
        ties: Number of these with equal rewards.
        unlabelled: Number of further pairs, which have no label (weight 0.5) and are not scored.
        seconds: Duration of the scoring.
        margins: Reward difference between chosen and rejected, for each pair with a label.
    """

    accuracy: float
    low: float
    high: float
    pairs: int
    ties: int
    seconds: float
    margins: tuple[float, ...]
    unlabelled: int = 0


def reward_accuracy(model: Reward, pairs: Sequence[PreferencePair]) -> RewardAccuracy:
    """Score both completions of every pair.

    Args:
        model: A reward model or any other `Reward`.
        pairs: One-step pairs.

    Raises:
        InputError: There are no pairs with a label, a pair has several steps, or a reward is not finite.
    """
    if not pairs:
        raise InputError("there are no pairs to measure on")
    given, quoted = len(pairs), holds_quoted(pairs)
    pairs = [pair for pair in pairs if pair.weight > 0.5]
    if not pairs:
        raise InputError(f"there is nothing to measure: all {given} pairs are ties (weight 0.5)")
    started = time.monotonic()
    margins: list[float] = []
    for start in range(0, len(pairs), _BATCH):
        margins += _margins(model, pairs[start : start + _BATCH], start, quoted)
    seconds = time.monotonic() - started
    values = np.array(margins)
    ties = int((values == 0).sum())
    accuracy = float((values > 0).mean() + 0.5 * (values == 0).mean())
    low, high = wilson(round(accuracy * len(values)), len(values))
    unlabelled = given - len(pairs)
    return RewardAccuracy(accuracy, low, high, len(values), ties, seconds, tuple(margins), unlabelled)


def _margins(model: Reward, pairs: Sequence[PreferencePair], first: int, quoted: bool) -> list[float]:
    decisions: list[Decision] = []
    for number, pair in enumerate(pairs, start=first + 1):
        decisions += pair.decisions(row=number)
    if not quoted:
        template = template_of(model)
        decisions = [template.quote(decision) for decision in decisions]
    scores = iter(model.score_decisions(decisions))
    margins: list[float] = []
    for number in range(first + 1, first + 1 + len(pairs)):
        rewards = next(scores).mean
        if len(rewards) == 1:
            rewards = np.concatenate([rewards, next(scores).mean])
        margin = float(rewards[0] - rewards[1])
        if not np.isfinite(margin):
            raise InputError(f"the model's rewards are not numbers ({rewards[0]}, {rewards[1]})", row=number)
        margins.append(margin)
    return margins


def trained_seeds(trained: Mapping[str, Any], data: str) -> list[int]:
    """Seeds of the splits of a source that a reward, or members of an ensemble, were trained on.

    Args:
        trained: What the reward was trained on (`rewards.identity.reward_provenance`).
        data: File, folder or hub id of the pairs.

    Returns:
        The seeds, ascending; none for other data.
    """
    own, found, left = source_digest(data), set[int](), [trained]
    while left:
        one = left.pop()
        if members := one.get("members"):
            # What an ensemble was measured on itself has no labels.
            left += members
            continue
        given: Mapping[str, Any] = one.get("data", {})
        if all(given.get(name) == value for name, value in own.items()):
            found.add(int(one.get("seed", 0)))
    return sorted(found)


def of_part(
    pairs: Examples[PreferencePair], part: Part, data: str, others: Sequence[Examples[PreferencePair]] = ()
) -> Examples[PreferencePair]:
    """The pairs of one split, or all.

    Args:
        pairs: All pairs.
        part: The split.
        data: File, folder or hub id of the pairs, for error messages.
        others: The same pairs with splits by other seeds; a pair has to be in the split by each of them.

    Raises:
        InputError: There are no pairs of this split.
    """
    splits = [{one.split for one in same} for same in zip(pairs, *others, strict=True)]
    chosen = tuple(pair for pair, own in zip(pairs, splits, strict=True) if part == "all" or own == {part})
    if not chosen:
        raise InputError(f"has no pair of the split {part}", path=data)
    # A list would lose the template.
    return replace(pairs, rows=chosen)
