"""Means with standard errors and intervals; all seeded."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray

Values = Sequence[float] | FloatArray
Interval = Callable[[FloatArray, FloatArray, float], tuple[float, float]]
"""Function from values (n,), resampled means (resamples,) and confidence level to the ends of an interval."""

CONFIDENCE = 0.95
RESAMPLES = 2000
FEW = 15
"""Number of values below which a mean's interval is Student's. The percentile interval of three values, such
as three trainings, is their range, which contains the mean in three of four cases only."""

_special: Any = importlib.import_module("scipy.special")


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and the ends of its interval; all in the unit of the values."""

    mean: float
    stderr: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """As a JSON object; null for infinite values, which JSON cannot express."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: Mapping[str, float | None]) -> Estimate:
        """The estimate of a JSON object; where an end or the error is null, nothing is known of it.

        >>> everything = Estimate(0.5, math.inf, -math.inf, math.inf)
        >>> Estimate.from_json(everything.to_json()) == everything
        True
        """
        unknown = {"mean": math.nan, "stderr": math.inf, "low": -math.inf, "high": math.inf}
        return cls(**{name: unknown[name] if value is None else value for name, value in row.items()})

    def within(self, least: float, most: float) -> Estimate:
        """The same of something that cannot be below or above these numbers: the interval ends there.

        >>> Estimate(0.6, 0.3, -0.7, 1.9).within(0.0, 1.0)
        Estimate(mean=0.6, stderr=0.3, low=0.0, high=1.0)
        """
        return replace(self, low=max(least, self.low), high=min(most, self.high))

    def with_error(self, digits: int = 3) -> str:
        """Mean and standard error as text."""
        return f"{self.mean:.{digits}f} ± {self.stderr:.{digits}f}"

    def with_interval(self, digits: int = 2) -> str:
        """Mean and interval as text."""
        return f"{self.mean:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def standard_error(values: Values) -> float:
    """``s / sqrt(n)``, with the sample's standard deviation s over ``n - 1``.

    Raises:
        InputError: There are fewer than two values, or a value is not finite.
    """
    array = finite_values(values)
    return float(array.std(ddof=1) / np.sqrt(len(array)))


def resampling_weights(n: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Bootstrap resamples of n values as weights, shape (resamples, n), each row summing to one:
    ``weights @ values`` are the resampled means."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples) / n


def percentile(values: FloatArray, resampled: FloatArray, confidence: float) -> tuple[float, float]:
    """The percentile interval: the middle ``confidence`` of the resampled means (Efron 1979)."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def student_reach(degrees: FloatArray | float, confidence: float = CONFIDENCE) -> FloatArray:
    """Distance of the ends of Student's interval from the mean, in standard errors.

    Args:
        degrees: Degrees of freedom, of any shape.
        confidence: Confidence level of the interval.
    """
    return np.asarray(_special.stdtrit(degrees, (1 + confidence) / 2), dtype=np.float64)


def student(values: FloatArray, confidence: float) -> tuple[float, float]:
    """Student's interval of a mean: ``mean +- t s / sqrt(n)`` with n - 1 degrees of freedom (Student 1908),
    exact for normal values."""
    half = float(student_reach(len(values) - 1, confidence)) * standard_error(values)
    return float(values.mean()) - half, float(values.mean()) + half


def by_number(values: FloatArray, resampled: FloatArray, confidence: float) -> tuple[float, float]:
    """Student's interval of few values (`FEW`), else the percentile interval."""
    return student(values, confidence) if len(values) < FEW else percentile(values, resampled, confidence)


def of_resamples(value: float, resampled: FloatArray, confidence: float, units: int = FEW) -> Estimate:
    """Estimate of a statistic: its value, the standard deviation of its bootstrap values, and their
    percentile interval.

    Args:
        value: The statistic of the whole sample.
        resampled: The statistic of each resample, shape (resamples,).
        confidence: Confidence level of the interval.
        units: Number of units that were resampled, of which the statistic is about linear. Of few (`FEW`) the
            ends' distances from the resamples' mean are multiplied by ``t / z * sqrt(units / (units - 1))``,
            by which Student's interval of a mean is wider; of one unit the interval is everything.
    """
    low, high = percentile(resampled, resampled, confidence)
    if units == 1:
        low, high = -math.inf, math.inf
    elif units < FEW:
        middle, normal = float(resampled.mean()), NormalDist().inv_cdf((1 + confidence) / 2)
        wider = float(student_reach(units - 1, confidence)) / normal * math.sqrt(units / (units - 1))
        low, high = middle + wider * (low - middle), middle + wider * (high - middle)
    return Estimate(value, float(resampled.std(ddof=1)), low, high)


def bias_corrected(values: FloatArray, resampled: FloatArray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (BCa; Efron 1987): percentiles shifted by ``z0``, the median
    bias of the resamples, and by the acceleration ``a``, the jackknife's skewness / 6."""
    gaps = values - values.mean()
    spread = float((gaps**2).sum())
    if spread == 0.0:
        return float(values.mean()), float(values.mean())
    normal = NormalDist()
    # Half of the ties count as below; levels are kept off 0 and 1, where the normal quantile is infinite.
    mean = values.mean()
    below = float((resampled < mean).mean() + (resampled == mean).mean() / 2)
    edge = 0.5 / len(resampled)
    bias = normal.inv_cdf(min(max(below, edge), 1 - edge))
    acceleration = float((gaps**3).sum()) / (6.0 * spread**1.5)

    def level(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        return normal.cdf(bias + z / (1 - acceleration * z))

    low, high = np.quantile(resampled, [level((1 - confidence) / 2), level((1 + confidence) / 2)])
    return float(low), float(high)


def estimate_columns(
    values: FloatArray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    interval: Interval = by_number,
) -> list[Estimate]:
    """Estimate of each column's mean, from the same resampled rows.

    Args:
        values: Values, shape (episodes, columns).
        confidence: Confidence level of the intervals, between 0 and 1.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.
        interval: `by_number`, `percentile` or `bias_corrected`.

    Raises:
        InputError: There are fewer than two rows, a value is not finite, or the confidence level is invalid.
    """
    if values.ndim != 2:
        raise InputError(f"expected values of shape (episodes, columns), found {values.shape}")
    require_confidence(confidence)
    columns = [finite_values(column) for column in values.T]
    means = resampling_weights(len(values), resamples, np.random.default_rng(seed)) @ values
    estimates: list[Estimate] = []
    for column, resampled in zip(columns, means.T, strict=True):
        low, high = interval(column, resampled, confidence)
        estimates.append(Estimate(float(column.mean()), standard_error(column), low, high))
    return estimates


def estimate(
    values: Values,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    interval: Interval = by_number,
) -> Estimate:
    """Mean of the values with its standard error and interval: Student's for few values (`FEW`), the
    percentile bootstrap's for others.

    Raises:
        InputError: See `estimate_columns`.
    """
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return estimate_columns(column, confidence=confidence, resamples=resamples, seed=seed, interval=interval)[
        0
    ]


def estimate_clusters(
    values: Values, clusters: Sequence[Hashable], *, confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES, seed: int = 0,
) -> Estimate:  # fmt: skip
    """Mean of the values with the percentile interval of a bootstrap that resamples whole clusters, whose
    values depend on each other (Field and Welsh 2007).

    Of few clusters (`FEW`), it is Student's interval with the standard error of the clusters' sums (Liang and
    Zeger 1986) and clusters - 1 degrees of freedom: percentile intervals of two clusters have the mean in
    them in 51 % of the cases, of five in 83 %; these in 96 % and 94 %.

    Args:
        values: Values.
        clusters: Cluster of each value.
        confidence: Confidence level of the interval, between 0 and 1.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Raises:
        InputError: There are fewer than two values or clusters, a value is not finite, the lengths differ, or
            the confidence level is invalid.
    """
    require_confidence(confidence)
    known = finite_values(values)
    if len(clusters) != len(known):
        raise InputError(f"expected a cluster for each of {len(known)} values, found {len(clusters)}")
    numbers = {one: number for number, one in enumerate(dict.fromkeys(clusters))}
    if len(numbers) < 2:
        raise InputError("expected values of two clusters or more, found one", field="clusters")
    place = np.array([numbers[one] for one in clusters])
    sums, sizes, mean = np.bincount(place, known), np.bincount(place), float(known.mean())
    if len(numbers) < FEW:
        # Each cluster's part of the mean's error, times their number.
        parts = (sums - mean * sizes) * len(numbers) / len(known)
        low, high = student(parts, confidence)
        return Estimate(mean, standard_error(parts), mean + low, mean + high)
    weights = resampling_weights(len(numbers), resamples, np.random.default_rng(seed))
    return of_resamples(mean, (weights @ sums) / (weights @ sizes), confidence)


def paired_difference(
    first: Values,
    second: Values,
    *,
    seed: int = 0,
) -> Estimate:
    """Mean of ``first - second`` over episodes played with the same seeds. Effects of the seeds cancel, which
    makes the interval narrower.

    Raises:
        InputError: The lengths differ; or see `estimate`.
    """
    if len(first) != len(second):
        raise InputError(f"paired values must have the same length, found {len(first)} and {len(second)}")
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return estimate(gaps, seed=seed)


def wilson(hits: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Ends of Wilson's score interval of a proportion."""
    binomtest: Any = importlib.import_module("scipy.stats").binomtest
    low, high = binomtest(hits, count).proportion_ci(confidence, "wilson")
    return float(low), float(high)


def finite_values(values: Values) -> FloatArray:
    """Values as an array of shape (values,).

    Raises:
        InputError: There are fewer than two values, or a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise InputError(f"a standard error needs at least two values, found shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError("expected finite values")
    return array


def require_confidence(confidence: float) -> None:
    """Raise `InputError` if a confidence level is not between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise InputError(f"must lie between 0 and 1, found {confidence}", field="confidence")
