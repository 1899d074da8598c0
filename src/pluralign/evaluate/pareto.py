"""Fronts, hypervolumes and expected utility. Every objective is maximised."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, SteeringWeights
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    Estimate,
    percentile,
    resampling_weights,
)

FloatArray = npt.NDArray[np.float64]

MAXIMISE = True
"""Objectives are maximised; moocore's own default is to minimise."""


def non_dominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates, shape (points,): none is at least as good in every
    objective and better in one. Of equal points the first is kept.

    Raises:
        InputError: the points are no finite array of shape (points, objectives).
    """
    array = _checked(points)
    if array.shape[1] == 1:
        mask = np.zeros(len(array), dtype=bool)
        mask[int(array[:, 0].argmax())] = True
        return mask
    return np.asarray(_moocore().is_nondominated(array, maximise=MAXIMISE), dtype=bool)


def pareto_front(points: npt.ArrayLike) -> FloatArray:
    """The non-dominated points, shape (front, objectives), the first objective rising."""
    array = _checked(points)
    front = array[non_dominated(array)]
    return front[np.lexsort(front.T[::-1])]


def reference_point(worst: npt.ArrayLike) -> FloatArray:
    """The default reference point: the worst attainable return of each objective, shape (objectives,).

    It is a property of the game (`exact_front(...).worst`), so two policies' hypervolumes compare
    whatever else is in the table. Its price: a point with the worst attainable return in some
    objective adds no volume, so the ends of a front may count little. Pass a reference point
    below the worst to give the ends weight; then say so.
    """
    return np.array(worst, dtype=np.float64, copy=True)


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The volume that the points dominate above the reference point, in the product of the
    objectives' units. A point that does not exceed it in every objective adds nothing.

    Raises:
        InputError: the shapes do not fit.
    """
    array = _checked(points)
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (array.shape[1],) or not np.isfinite(corner).all():
        raise InputError(f"must be {array.shape[1]} finite numbers, found {corner}", field="reference_point")
    inside = array[(array > corner).all(1)]
    if not len(inside):
        return 0.0
    if array.shape[1] == 1:
        return float(inside.max() - corner[0])
    return float(_moocore().hypervolume(inside, ref=corner, maximise=MAXIMISE))


def mixed_hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The volume above the reference point that mixtures of the points dominate: that under their
    convex hull instead of under their stairs.

    Who flips a coin between two policies gets the mean of their returns; so this bounds what policies
    that draw their actions can cover, where `hypervolume` of a deterministic front does not.

    Raises:
        InputError: the shapes do not fit.
    """
    array = _checked(points)
    corner = np.asarray(reference, dtype=np.float64)
    # A hypervolume's own checks of the shapes; nothing dominated means nothing to mix.
    if hypervolume(array, corner) == 0.0:
        return 0.0
    inside = array[(array > corner).all(1)]
    if array.shape[1] == 1:
        return hypervolume(inside, corner)
    from_corner = itertools.product([0.0, 1.0], repeat=array.shape[1])
    shadows = np.concatenate([corner + np.array(kept) * (inside - corner) for kept in from_corner])
    hull: Any = importlib.import_module("scipy.spatial").ConvexHull
    return float(hull(shadows).volume)


Volume = Callable[[npt.ArrayLike, npt.ArrayLike], float]
"""From points and a reference point to a volume: `hypervolume` or `mixed_hypervolume`."""


def hypervolume_ratio(
    points: npt.ArrayLike, exact: npt.ArrayLike, reference: npt.ArrayLike, *, volume: Volume = hypervolume
) -> float:
    """The points' hypervolume as a share of the exact front's; 1 where they cover it.

    The exact front is that of deterministic policies. A policy that draws its actions can lie
    between two of its points, above the stairs, so that a stochastic sweep's share of the stairs can
    exceed 1; ``volume=mixed_hypervolume`` measures both as mixtures, and never does.

    Raises:
        InputError: the exact front dominates no volume above the reference point.
    """
    whole = volume(exact, reference)
    if whole <= 0.0:
        raise InputError("the exact front dominates no volume above the reference point")
    return volume(points, reference) / whole


def estimate_hypervolume_ratio(
    episode_returns: Sequence[FloatArray],
    exact: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 1000,
    seed: int = 0,
    volume: Volume = hypervolume,
) -> Estimate:
    """The hypervolume ratio of a sweep's mean returns, with an interval from resampled episodes.

    The ratio is that of the means of each weighting. Where all weightings have the same number of
    episodes they were played with the same seeds, and the same episodes are drawn for all. The front
    of noisy means lies above the front of the true means, the more so the fewer the episodes; the
    resamples show this twice over, so that the interval can lie above the ratio itself.

    Args:
        episode_returns: for each weighting an array of shape (episodes, objectives).
        exact: the exact front, shape (points, objectives).
        reference: the reference point, shape (objectives,).
        confidence: of the interval.
        resamples: bootstrap resamples.
        seed: of the resampling.
        volume: `hypervolume` or `mixed_hypervolume`.

    Raises:
        InputError: the shapes do not fit, or the exact front dominates no volume.
    """
    groups = [_checked(group) for group in episode_returns]
    if not groups:
        raise InputError("a hypervolume needs at least one weighting's returns")
    rng = np.random.default_rng(seed)
    if len({len(group) for group in groups}) == 1:
        shared = resampling_weights(len(groups[0]), resamples, rng)
        draws = [shared] * len(groups)
    else:
        draws = [resampling_weights(len(group), resamples, rng) for group in groups]
    means = np.stack([draw @ group for draw, group in zip(draws, groups, strict=True)], axis=1)
    found = np.stack([group.mean(0) for group in groups])
    ratio = hypervolume_ratio(found, exact, reference, volume=volume)
    whole = volume(exact, reference)
    resampled = np.array([volume(points, reference) / whole for points in means])
    low, high = percentile(resampled, resampled, confidence)
    return Estimate(ratio, float(resampled.std(ddof=1)), low, high)


def rescale(points: npt.ArrayLike, worst: npt.ArrayLike, best: npt.ArrayLike) -> FloatArray:
    """Returns as shares of the attainable range: 0 at the worst, 1 at the best. An objective whose
    worst is its best is 1 throughout: nothing could be lost."""
    array = _checked(points)
    low, high = np.asarray(worst, dtype=np.float64), np.asarray(best, dtype=np.float64)
    span = high - low
    return np.where(span > 0, (array - low) / np.where(span > 0, span, 1.0), 1.0)


def expected_utility(
    points: npt.ArrayLike, objectives: Sequence[str], weightings: Sequence[SteeringWeights]
) -> float:
    """What users get on average who each pick the point that suits their weights best:
    ``mean_w max_j sum_i w_i r_ji`` (the expected utility metric, Zintgraf et al. 2015).

    Objectives in different units want `rescale` first.

    Args:
        points: returns, shape (points, objectives).
        objectives: their names, in the order of the columns.
        weightings: the users; `simplex_grid` makes an even population.

    Raises:
        InputError: a weight on an unknown objective, or no weightings.
    """
    array = _checked(points)
    if array.shape[1] != len(objectives) or not weightings:
        raise InputError(
            f"expected a name for each of {array.shape[1]} columns and at least one weighting, "
            f"found {len(objectives)} and {len(weightings)}"
        )
    users = np.stack([weights.aligned_to(objectives) for weights in weightings])
    return float((users @ array.T).max(1).mean())


def _moocore() -> Any:
    # Imported where it is needed: whoever only plays a policy does not wait for it.
    return importlib.import_module("moocore")


def _checked(points: npt.ArrayLike) -> FloatArray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise InputError(f"expected finite points of shape (points, objectives), found shape {array.shape}")
    return array
