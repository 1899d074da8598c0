"""Agreement of two rankings of options, over all decisions and within them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.evaluate.rank_correlation import Correlation
from pluralign.evaluate.statistics import CONFIDENCE, by_number, of_resamples, resampling_weights

RESAMPLES = 1000


@dataclass(frozen=True)
class RankAgreement:
    """Rank correlations with 95 % intervals from resampled decisions.

    Args:
        spearman: Spearman's rho over all options.
        kendall: Kendall's tau-b over all options.
        within: Mean over decisions of tau-b between the decision's own options, over the decisions whose
            options are not all tied in the second ranking (``pairs`` counts these decisions).
    """

    spearman: Correlation
    kendall: Correlation
    within: Correlation


def rank_agreement(
    first: FloatArray, second: FloatArray, owner: IntArray, *, resamples: int = RESAMPLES, seed: int = 0
) -> RankAgreement:
    """Spearman's rho and Kendall's tau-b, over all rows and within decisions.

    Intervals are percentiles over resampled decisions, each with all its options, since options of one
    decision are not independent; of few decisions they are wider (`statistics.of_resamples`), of one they are
    everything, and of the mean within few decisions they are Student's (`statistics.by_number`). Percentiles
    of two decisions have the correlation in them in half of the cases. If all options are in one order, so
    they are in each resample, and the width is 0. If either side is constant, the correlation is reported as
    zero.

    Args:
        first: First value of each row.
        second: Second value of each row.
        owner: Decision number of each row.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Raises:
        InputError: The arrays have different shapes or fewer than three rows, or a value is not finite.
    """
    shapes = {np.shape(array) for array in (first, second, owner)}
    if len(shapes) > 1 or len(first) < 3:
        raise InputError(f"a rank correlation needs at least three rows of each, found {sorted(shapes)}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("expected finite values")
    _, decision = np.unique(owner, return_inverse=True)
    decisions = int(decision.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = np.rint(resampling_weights(decisions, resamples, rng) * decisions)
    # The first row of weights represents the data itself.
    weights = np.vstack([np.ones(decisions), drawn])[:, decision].astype(np.float32)
    x, y = _signs(first), _signs(second)
    rho = _correlation(decisions, _spearman(weights, x, y), len(first))
    tau = _correlation(decisions, _kendall(weights, x, y), len(first))
    return RankAgreement(rho, tau, _within(x, y, decision, resamples, rng))


# Sums of signs times integer weights stay below 2^24 for several thousand rows, so float32 is exact.
Signs = npt.NDArray[np.float32]


def _signs(values: FloatArray) -> Signs:
    return np.sign(values[:, None] - values[None, :]).astype(np.float32)


def _spearman(weights: Signs, x: Signs, y: Signs) -> FloatArray:
    """Pearson's correlation of average ranks: a rank is half the sum of signs against all other values, plus
    a constant."""
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    gaps: list[FloatArray] = []
    for signs in (x, y):
        ranks = (weights @ signs.T).astype(np.float64)
        gaps.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)
    spread = [(weights * gap**2).sum(axis=1) for gap in gaps]
    return _ratio((weights * gaps[0] * gaps[1]).sum(axis=1), np.sqrt(spread[0] * spread[1]))


def _kendall(weights: Signs, x: Signs, y: Signs) -> FloatArray:
    """(concordant - discordant) / sqrt(pairs untied in x * pairs untied in y)."""
    concordance, in_x, in_y = (
        ((weights @ signs) * weights).sum(axis=1, dtype=np.float64) for signs in (x * y, x * x, y * y)
    )
    return _ratio(concordance, np.sqrt(in_x * in_y))


def _within(x: Signs, y: Signs, decision: IntArray, resamples: int, rng: np.random.Generator) -> Correlation:
    same = decision[:, None] == decision[None, :]
    concordance, in_x, in_y = (
        np.bincount(decision, weights=(signs * same).sum(axis=1)).astype(np.float64)
        for signs in (x * y, x * x, y * y)
    )
    untied = in_y > 0
    taus = np.nan_to_num(_ratio(concordance[untied], np.sqrt(in_x[untied] * in_y[untied])))
    if not len(taus):
        return Correlation(0.0, 0.0, 0.0, 0)
    means, low, high = resampling_weights(len(taus), resamples, rng) @ taus, -1.0, 1.0
    if len(taus) > 1:
        low, high = by_number(taus, means, CONFIDENCE)
    return Correlation(float(taus.mean()), max(low, -1.0), min(high, 1.0), len(taus))


def _ratio(over: FloatArray, under: FloatArray) -> FloatArray:
    """Elementwise ratio; NaN where the denominator is 0."""
    return np.divide(over, under, out=np.full_like(under, np.nan), where=under > 0)


def _correlation(decisions: int, found: FloatArray, pairs: int) -> Correlation:
    """The first value with percentiles of the rest; resamples with a constant side are left out."""
    if np.isnan(found[0]):
        return Correlation(0.0, 0.0, 0.0, pairs)
    low, high = -1.0, 1.0
    if decisions > 1:
        resampled = found[1:][~np.isnan(found[1:])]
        ends = of_resamples(float(found[0]), resampled, CONFIDENCE, decisions).within(-1.0, 1.0)
        low, high = ends.low, ends.high
    return Correlation(float(np.clip(found[0], -1.0, 1.0)), low, high, pairs)
