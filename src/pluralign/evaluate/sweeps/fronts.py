"""Sides of a sweep of texts against each other: fronts and hypervolumes over the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core import InputError
from pluralign.core.pareto import hypervolume, non_dominated
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    Estimate,
    FloatArray,
    of_resamples,
    resampling_weights,
)
from pluralign.evaluate.sweeps.texts import TextPoint

MARGIN = 0.1
"""The reference point lies this share of the range below the least mean of all points: so the ends of every
front count, and none is favoured."""


@dataclass(frozen=True, eq=False)
class SideFront:
    """What a side reached.

    Args:
        label: the side's.
        points: its points.
        means: mean normalised rewards, shape (points, objectives).
        stderr: their standard errors over prompts.
        front: numbers of the points that no other of this side dominates.
        hypervolume: above the reference point, with an interval over prompts.
        lead: by how much the first side's hypervolume exceeds it; None for the first.
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
    """A sweep's sides on one scale.

    Args:
        objectives: their names, in the order of all arrays.
        base: the model as it is.
        origin: the base's mean rewards, which are 0.
        unit: the standard deviation of the base's rewards over prompts, which is 1.
        reference: the reference point of all hypervolumes, normalised.
        sides: the first is the one that leads are of.
    """

    objectives: tuple[str, ...]
    base: TextPoint
    origin: FloatArray
    unit: FloatArray
    reference: FloatArray
    sides: tuple[SideFront, ...]

    def normalised(self, point: TextPoint) -> FloatArray:
        """A point's rewards on this scale, shape (prompts, objectives)."""
        return (point.array(self.objectives) - self.origin) / self.unit


def compare_sides(
    points: Sequence[TextPoint], objectives: Sequence[str], *, base: str = "base",
    confidence: float = CONFIDENCE, resamples: int = 1000, seed: int = 0,
) -> TextFronts:  # fmt: skip
    """Put every side's points on one scale, and compare their hypervolumes.

    Rewards have neither origin nor unit in common: the base model's mean is taken for 0 and the deviation of
    its rewards over prompts for 1. Scale and reference point are fixed before the bootstrap, which draws the
    same prompts for all points of all sides, so that what prompts have in common cancels in differences. A
    front of noisy means lies above that of the true means, the more so the more points it has.

    Args:
        points: of all sides; sides come in the order of their first points.
        objectives: two or more.
        base: the side that is the model as it is, one point.
        confidence: of the intervals.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        InputError: no base, no other side, fewer than two objectives or two prompts, or a reward that is not
            finite.
    """
    labels = list(dict.fromkeys(point.side for point in points))
    if base not in labels or len(labels) < 2 or len(objectives) < 2:
        raise InputError(f"expected {base!r}, another side and two objectives, found {labels}, {objectives}")
    own = next(point for point in points if point.side == base)
    raw = own.array(objectives)
    prompts = len(raw)
    if prompts < 2:
        raise InputError("expected two prompts or more, found one: intervals are over prompts")
    spread = raw.std(axis=0, ddof=1)
    # Where the base's rewards are all one, their unit stays.
    origin, unit = raw.mean(axis=0), np.where(spread > 0, spread, 1.0)
    scaled = {
        label: np.stack([(p.array(objectives) - origin) / unit for p in points if p.side == label])
        for label in labels
    }
    if not all(np.isfinite(values).all() for values in scaled.values()):
        raise InputError("a reward is not finite")
    reference = reference_below(np.concatenate([values.mean(axis=1) for values in scaled.values()]))
    draws = resampling_weights(prompts, resamples, np.random.default_rng(seed))
    volumes = {label: _volumes(values, draws, reference) for label, values in scaled.items() if label != base}
    first = next(iter(volumes))
    sides: list[SideFront] = []
    for label, (found, resampled) in volumes.items():
        values, means = scaled[label], scaled[label].mean(axis=1)
        gap = (volumes[first][0] - found, volumes[first][1] - resampled)
        sides.append(
            SideFront(
                label,
                tuple(point for point in points if point.side == label),
                means,
                values.std(axis=1, ddof=1) / np.sqrt(prompts),
                tuple(np.flatnonzero(non_dominated(means)).tolist()),
                of_resamples(found, resampled, confidence),
                None if label == first else of_resamples(*gap, confidence),
            )
        )
    return TextFronts(tuple(objectives), own, origin, unit, reference, tuple(sides))


def reference_below(means: FloatArray) -> FloatArray:
    """The reference point of these points: `MARGIN` of the range below the least, objective by objective.

    Args:
        means: shape (points, objectives).
    """
    low, high = means.min(axis=0), means.max(axis=0)
    span = high - low
    return low - MARGIN * np.where(span > 0, span, 1.0)


def _volumes(values: FloatArray, draws: FloatArray, reference: FloatArray) -> tuple[float, FloatArray]:
    """The hypervolume of the points' means, and of their means over each resample of the prompts.

    Args:
        values: normalised rewards, shape (points, prompts, objectives).
        draws: shape (resamples, prompts).
        reference: shape (objectives,).
    """
    means = np.einsum("rn,pno->rpo", draws, values)
    resampled = np.array([hypervolume(points, reference) for points in means])
    return hypervolume(values.mean(axis=1), reference), resampled
