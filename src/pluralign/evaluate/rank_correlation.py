"""Spearman's rank correlation with an interval; seeded."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.evaluate.statistics import CONFIDENCE, RESAMPLES, Values, finite_values, percentile

FEW_PAIRS = 9
"""Number of pairs below which the interval of a rank correlation is not a bootstrap's."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation from -1 to 1, with its interval, over a number of pairs."""

    value: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def spearman(
    first: Values,
    second: Values,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Correlation:
    """Spearman's rank correlation (average ranks for ties) with a percentile interval from resampled pairs.

    If either side is constant, the correlation is undefined and zero is returned. Resamples with a constant
    side are left out of the interval, which is everything if none is left.

    With fewer than nine pairs, and with more pairs that are all in one order, the interval is Fisher's, with
    the variance of Bonett and Wright (2000, Psychometrika 65). Resamples of pairs in one order are in that
    order too, so that their percentile interval is a point, although chance orders four pairs like this in 2
    of 24 cases. Of normal pairs with a correlation of 0.9, percentile intervals of four pairs have the rank
    correlation in them in 57 % of the cases, of six in 84 %; these in 99 % and 98 %. From eight pairs on the
    two are close.

    Raises:
        InputError: The lengths differ, there are fewer than three pairs, or a value is not finite.
    """
    # scipy.stats takes half a second to import.
    rankdata: Any = importlib.import_module("scipy.stats").rankdata
    x, y = finite_values(first), finite_values(second)
    if len(x) != len(y) or len(x) < 3:
        raise InputError(f"a rank correlation needs at least three pairs, found {len(x)} and {len(y)} values")
    drawn = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    rows = np.vstack([np.arange(len(x)), drawn])
    ranks_x: FloatArray = rankdata(x[rows], axis=1)
    ranks_y: FloatArray = rankdata(y[rows], axis=1)
    gaps_x = ranks_x - ranks_x.mean(1, keepdims=True)
    gaps_y = ranks_y - ranks_y.mean(1, keepdims=True)
    scale = np.sqrt((gaps_x**2).sum(1) * (gaps_y**2).sum(1))
    if scale[0] == 0.0:
        return Correlation(0.0, 0.0, 0.0, len(x))
    values = np.clip((gaps_x * gaps_y).sum(1)[scale > 0] / scale[scale > 0], -1.0, 1.0)
    low, high = -1.0, 1.0
    if len(x) < FEW_PAIRS:
        low, high = _of_few(float(values[0]), len(x))
    elif len(values) > 1:
        low, high = percentile(x, values[1:], CONFIDENCE)
        if low == high:
            low, high = _of_few(float(values[0]), len(x))
    return Correlation(float(values[0]), low, high, len(x))


def _of_few(value: float, pairs: int) -> tuple[float, float]:
    """Interval of a rank correlation of few pairs; of three, everything."""
    if pairs < 4:
        return -1.0, 1.0
    # Half of a step of the correlation away from 1, where Fisher's transformation is infinite.
    most = 1 - 6 / (pairs * (pairs**2 - 1))
    inner = min(max(value, -most), most)
    width = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt((1 + inner**2 / 2) / (pairs - 3))
    return min(math.tanh(math.atanh(inner) - width), value), max(math.tanh(math.atanh(inner) + width), value)
