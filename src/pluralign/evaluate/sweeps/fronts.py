"""Comparison of the sides of a sweep over prompts: fronts and hypervolumes on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray, varies
from pluralign.core.pareto import hypervolume, non_dominated
from pluralign.evaluate.statistics import CONFIDENCE, Estimate, of_resamples, resampling_weights
from pluralign.evaluate.sweeps.texts import TextPoint

_RESAMPLES = 1000
_DECIMALS = 12
MARGIN = 0.1
"""Distance of the reference point below the lowest mean of all points, as a share of the range. The ends of
every front therefore count, and no side is favoured."""


@dataclass(frozen=True, eq=False)
class SideFront:
    """Results of a side.

    Args:
        label: Name of the side.
        points: Points of the side.
        means: Mean normalised rewards, shape (points, objectives).
        stderr: Standard errors of the means over prompts, shape (points, objectives).
        front: Indices of the points that no other point of this side dominates.
        hypervolume: Hypervolume above the reference point, with an interval over prompts.
        lead: Difference between the first side's hypervolume and this one; None for the first side.
    """

    label: str
    points: tuple[TextPoint, ...]
    means: FloatArray
    stderr: FloatArray
    front: tuple[int, ...]
    hypervolume: Estimate
    lead: Estimate | None


@dataclass(frozen=True, eq=False)
class TextFronts:
    """Sides of a sweep on a common scale.

    Args:
        objectives: Names of objectives, in the order of all arrays.
        base: Point of the base model.
        origin: Mean rewards of the base model, which are 0 on this scale.
        unit: Standard deviations of the base model's rewards over prompts, which are 1 on this scale.
        reference: Reference point of all hypervolumes, normalised.
        sides: Sides; leads are those of the first.
    """

    objectives: tuple[str, ...]
    base: TextPoint
    origin: FloatArray
    unit: FloatArray
    reference: FloatArray
    sides: tuple[SideFront, ...]

    def normalised(self, point: TextPoint) -> FloatArray:
        """Rewards of a point on this scale, shape (prompts, objectives)."""
        return (point.array(self.objectives) - self.origin) / self.unit


def compare_sides(
    points: Sequence[TextPoint], objectives: Sequence[str], *, base: str = "base",
    seed: int = 0,
) -> TextFronts:  # fmt: skip
    """Normalise the points of all sides to a common scale, and compare hypervolumes.

    Rewards have no common origin or unit: the base model's mean becomes 0, and the standard deviation of its
    rewards over prompts becomes 1. Scale and reference point are fixed before the bootstrap, which resamples
    the same prompts for all points of all sides, so that common effects of prompts cancel in differences. Of
    few prompts intervals are wider (`of_resamples`): with three prompts, percentile intervals tell sides
    apart that are equal in 23 % of the cases. A front of noisy means is biased upwards, more so with more
    points.

    Args:
        points: Points of all sides; the order of sides is that of their first points.
        objectives: Names of two or more objectives.
        base: Name of the base model's side, with one point.
        seed: Random seed of the resampling.

    Raises:
        InputError: There is no base or no other side, there are fewer than two objectives or prompts, or a
            reward is not finite.
    """
    labels = list(dict.fromkeys(point.side for point in points))
    if base not in labels or len(labels) < 2 or len(objectives) < 2:
        raise InputError(f"expected {base!r}, another side and two objectives, found {labels}, {objectives}")
    own = next(point for point in points if point.side == base)
    raw = own.array(objectives)
    prompts = len(raw)
    if prompts < 2:
        raise InputError("expected at least two prompts, found one: intervals are over prompts")
    # If the base model's rewards are constant, their unit stays.
    origin, unit = raw.mean(axis=0), np.where(varies(raw), raw.std(axis=0, ddof=1), 1.0)
    scaled = {
        label: np.stack([(p.array(objectives) - origin) / unit for p in points if p.side == label])
        for label in labels
    }
    if not all(np.isfinite(values).all() for values in scaled.values()):
        raise InputError("a reward is not finite")
    # Means of the same rewards in another order differ by rounding, which is no range and dominates nothing.
    mean: dict[str, FloatArray] = {
        label: np.round(values.mean(axis=1), _DECIMALS) for label, values in scaled.items()
    }
    reference = reference_below(np.concatenate(list(mean.values())))
    draws = resampling_weights(prompts, _RESAMPLES, np.random.default_rng(seed))
    volumes = {label: _volumes(values, draws, reference) for label, values in scaled.items() if label != base}
    first = next(iter(volumes))
    sides: list[SideFront] = []
    for label, (found, resampled) in volumes.items():
        values, means = scaled[label], mean[label]
        gap = (volumes[first][0] - found, volumes[first][1] - resampled)
        sides.append(
            SideFront(
                label,
                tuple(point for point in points if point.side == label),
                means,
                values.std(axis=1, ddof=1) / np.sqrt(prompts),
                tuple(np.flatnonzero(non_dominated(means)).tolist()),
                of_resamples(found, resampled, CONFIDENCE, prompts).within(0.0, math.inf),
                None if label == first else of_resamples(*gap, CONFIDENCE, prompts),
            )
        )
    return TextFronts(tuple(objectives), own, origin, unit, reference, tuple(sides))


def reference_below(means: FloatArray) -> FloatArray:
    """Reference point for given points: `MARGIN` of the range below the minimum, for each objective.

    Args:
        means: Mean returns or rewards, shape (points, objectives).
    """
    low, high = means.min(axis=0), means.max(axis=0)
    span = high - low
    return low - MARGIN * np.where(span > 0, span, 1.0)


def _volumes(values: FloatArray, draws: FloatArray, reference: FloatArray) -> tuple[float, FloatArray]:
    """Hypervolume of the points' means, and of their means over each resample of the prompts.

    Args:
        values: Normalised rewards, shape (points, prompts, objectives).
        draws: Weights of the prompts in each resample, shape (resamples, prompts).
        reference: Reference point, shape (objectives,).
    """
    means = np.einsum("rn,pno->rpo", draws, values)
    resampled = np.array([hypervolume(points, reference) for points in means])
    return hypervolume(values.mean(axis=1), reference), resampled
