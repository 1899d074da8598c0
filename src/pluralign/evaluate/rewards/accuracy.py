"""How often a reward model agrees with preferences."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from pluralign.core import Decision, InputError, PreferencePair
from pluralign.evaluate.statistics import CONFIDENCE
from pluralign.rewards.reward import Reward

_BATCH = 64


@dataclass(frozen=True)
class RewardAccuracy:
    """Share of pairs whose chosen completion has the greater reward.

    Args:
        accuracy: between 0 and 1; a pair with equal rewards counts half.
        low: lower end of the 95 % interval (Wilson's, which holds near 0 and 1).
        high: its upper end.
        pairs: how many.
        ties: pairs with equal rewards.
        seconds: of the scoring.
        margins: reward of chosen minus that of rejected, of each pair.
    """

    accuracy: float
    low: float
    high: float
    pairs: int
    ties: int
    seconds: float
    margins: tuple[float, ...]


def reward_accuracy(model: Reward, pairs: Sequence[PreferencePair]) -> RewardAccuracy:
    """Score both completions of every pair.

    Args:
        model: a reward model, or anything else that scores completions.
        pairs: one-step pairs.

    Raises:
        InputError: no pairs, a pair of several steps, or a reward that is not a number.
    """
    if not pairs:
        raise InputError("there is no pair to measure on")
    started = time.monotonic()
    margins: list[float] = []
    for start in range(0, len(pairs), _BATCH):
        margins += _margins(model, pairs[start : start + _BATCH], start)
    seconds = time.monotonic() - started
    values = np.array(margins)
    ties = int((values == 0).sum())
    accuracy = float((values > 0).mean() + 0.5 * (values == 0).mean())
    test: Any = binomtest(round(accuracy * len(values)), len(values))
    low, high = test.proportion_ci(CONFIDENCE, "wilson")
    return RewardAccuracy(accuracy, float(low), float(high), len(values), ties, seconds, tuple(margins))


def _margins(model: Reward, pairs: Sequence[PreferencePair], first: int) -> list[float]:
    decisions: list[Decision] = []
    for number, pair in enumerate(pairs, start=first + 1):
        decisions += pair.decisions(row=number)
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
