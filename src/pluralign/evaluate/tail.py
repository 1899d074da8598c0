"""Means of the worst cases; seeded."""

from __future__ import annotations

import numpy as np

from pluralign.core import InputError
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Values,
    finite_values,
    of_resamples,
    require_confidence,
    resampling_weights,
)


def estimate_tail(
    values: Values, share: float, *, resamples: int = RESAMPLES, seed: int = 0, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean of the lowest share of the values (conditional value at risk), with a bootstrap interval.

    The value at the edge counts in part, so that a share of 1 is the mean. With few values the lowest of them
    are an optimistic picture of the worst cases, and so is the interval: of normal values, 95 % intervals of
    the lowest fifth hold its mean in 57 % of the cases with 10 values, in 76 % with 20, in 89 % with 50 and
    in 94 % with 300.

    Args:
        values: Values, for instance returns of episodes.
        share: Share of the values, above 0 and at most 1.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.
        confidence: Confidence level of the interval, between 0 and 1.

    Raises:
        InputError: The share is out of range, there are fewer than two values, or one is not finite.
    """
    if not 0 < share <= 1:
        raise InputError(f"must be above 0 and at most 1, found {share}", field="tail")
    require_confidence(confidence)
    ordered = np.sort(finite_values(values))
    counts = resampling_weights(len(ordered), resamples, np.random.default_rng(seed))
    # The part of each value that belongs to the lowest share of its resample.
    before = np.cumsum(counts, axis=1) - counts
    parts = np.clip(share - before, 0.0, counts) / share
    whole = np.clip(share - np.arange(len(ordered)) / len(ordered), 0.0, 1 / len(ordered)) / share
    return of_resamples(float(whole @ ordered), parts @ ordered, confidence)
