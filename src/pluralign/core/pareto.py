"""Pareto fronts, hypervolumes and expected utility. Every objective is maximised.

moocore and SciPy are imported by the functions that need them.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core.arrays import FloatArray
from pluralign.core.errors import InputError
from pluralign.core.weights import SteeringWeights

MAXIMISE = True
"""Objectives are maximised; moocore's own default is to minimise."""

# Height of a volume, as a share of the points' range, that rounding and solvers may leave of none.
_FLAT = 1e-9


def non_dominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mask of the points that no other point dominates, shape (points,).

    A point dominates another if it is at least as good in every objective and better in one. Of equal points
    the first is kept.

    Args:
        points: Returns, shape (points, objectives).

    Raises:
        InputError: The points are not a finite array of shape (points, objectives).
    """
    array = checked_points(points)
    if array.shape[1] == 1:
        mask = np.zeros(len(array), dtype=bool)
        mask[int(array[:, 0].argmax())] = True
        return mask
    return np.asarray(_moocore().is_nondominated(array, maximise=MAXIMISE), dtype=bool)


def undominated(points: FloatArray) -> FloatArray:
    """Distinct non-dominated points, by decreasing first objective, without input checks.

    Args:
        points: Finite returns, shape (points, objectives).

    Returns:
        The front, shape (front, objectives).
    """
    return points[undominated_rows(points)]


def undominated_rows(points: FloatArray) -> npt.NDArray[np.int64]:
    """Rows of the distinct non-dominated points, by decreasing first objective, without input checks.

    Two objectives take a single sort, the main cost of exact fronts of games.

    Args:
        points: Finite returns, shape (points, objectives).

    Returns:
        Indices, shape (front,).
    """
    if len(points) == 1:
        return np.zeros(1, dtype=np.int64)
    if points.shape[1] > 2:
        kept = np.flatnonzero(_moocore().is_nondominated(points, maximise=MAXIMISE, keep_weakly=False))
        return kept[np.lexsort(-points[kept].T[::-1])]
    order = np.lexsort(-points.T[::-1])
    if points.shape[1] == 1:
        return order[:1]
    last = points[order, -1]
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = last[1:] > np.maximum.accumulate(last)[:-1]
    return order[keep]


def pareto_front(points: npt.ArrayLike) -> FloatArray:
    """Distinct non-dominated points, by increasing first objective, shape (front, objectives).

    Args:
        points: Returns, shape (points, objectives).

    Raises:
        InputError: The points are not a finite array of shape (points, objectives).

    Examples:
        >>> import pluralign as pl
        >>> pl.pareto_front([[0.0, 2.0], [1.0, 1.0], [0.0, 1.0]]).tolist()
        [[0.0, 2.0], [1.0, 1.0]]
    """
    return undominated(checked_points(points))[::-1].copy()


def reference_point(worst: npt.ArrayLike) -> FloatArray:
    """The default reference point: the worst attainable return of each objective, shape (objectives,).

    It is a property of the game (`exact_front(...).worst`), so hypervolumes of two policies are comparable.
    Its drawback: a point with the worst attainable return in some objective adds no volume, so the ends of a
    front may count little. A reference point below the worst gives the ends weight; report it if you use one.
    """
    return np.array(worst, dtype=np.float64, copy=True)


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Volume that the points dominate above the reference point, in the product of the objectives' units.

    A point that does not exceed the reference point in every objective adds nothing.

    Args:
        points: Returns, shape (points, objectives).
        reference: Reference point, shape (objectives,).

    Raises:
        InputError: The shapes do not match.

    Examples:
        >>> import pluralign as pl
        >>> pl.hypervolume([[0.0, 2.0], [1.0, 1.0]], [0.0, 0.0])
        1.0
    """
    array = checked_points(points)
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
    """Volume above the reference point that mixtures of the points dominate: the volume under their convex
    hull instead of under their staircase.

    A random choice between two policies, once per episode, has the mean of their returns. This is therefore
    an upper bound for stochastic policies, unlike `hypervolume` of a deterministic front.

    Args:
        points: Returns, shape (points, objectives).
        reference: Reference point, shape (objectives,).

    Raises:
        InputError: The shapes do not match.
    """
    array = checked_points(points)
    corner = np.asarray(reference, dtype=np.float64)
    # It checks the shapes.
    alone = hypervolume(array, corner)
    if array.shape[1] == 1:
        return alone
    # Points at or below the reference point in one objective count too: their mixtures may be above it.
    low = np.minimum(array.min(axis=0), corner)
    height = _height_above(array, corner)
    if height <= _FLAT * float((array.max(axis=0) - low).max()):
        return alone
    from_low = itertools.product([0.0, 1.0], repeat=array.shape[1])
    shadows = np.concatenate([low + np.array(kept) * (array - low) for kept in from_low])
    spatial: Any = importlib.import_module("scipy.spatial")
    hull = spatial.ConvexHull(shadows)
    if (low == corner).all():
        return float(hull.volume)
    above = np.column_stack([-np.eye(len(corner)), corner])
    inside = corner + height / 2
    part = spatial.HalfspaceIntersection(np.concatenate([hull.equations, above]), inside)
    return float(spatial.ConvexHull(part.intersections).volume)


def _height_above(points: FloatArray, corner: FloatArray) -> float:
    """The most by which some mixture of points exceeds the reference point in every objective."""
    count, objectives = points.shape
    found = importlib.import_module("scipy.optimize").linprog(
        np.append(np.zeros(count), -1.0),
        A_ub=np.column_stack([-points.T, np.ones(objectives)]),
        b_ub=-corner,
        A_eq=np.append(np.ones(count), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * count + [(None, None)],
    )
    return float(found.x[-1])


Volume = Callable[[npt.ArrayLike, npt.ArrayLike], float]
"""A function of points and a reference point: `hypervolume` or `mixed_hypervolume`."""


def hypervolume_ratio(
    points: npt.ArrayLike, exact: npt.ArrayLike, reference: npt.ArrayLike, *, volume: Volume = hypervolume
) -> float:
    """Hypervolume of the points divided by that of the exact front; 1 if they cover it.

    The exact front is that of deterministic policies. A stochastic policy can lie between two of its points,
    above the staircase, so the ratio can exceed 1. With ``volume=mixed_hypervolume``, which takes the convex
    hull of both, it cannot.

    Args:
        points: Returns, shape (points, objectives).
        exact: Exact front, shape (points, objectives).
        reference: Reference point, shape (objectives,).
        volume: `hypervolume` or `mixed_hypervolume`.

    Raises:
        InputError: The exact front dominates no volume above the reference point.
    """
    return volume(points, reference) / exact_volume(exact, reference, volume)


def exact_volume(exact: npt.ArrayLike, reference: npt.ArrayLike, volume: Volume) -> float:
    """Volume of the exact front, the denominator of hypervolume ratios.

    Raises:
        InputError: The front dominates no volume above the reference point.
    """
    whole = volume(exact, reference)
    if whole <= 0.0:
        raise InputError("the exact front dominates no volume above the reference point")
    return whole


def rescale(points: npt.ArrayLike, worst: npt.ArrayLike, best: npt.ArrayLike) -> FloatArray:
    """Returns scaled to the attainable range: 0 is the worst, 1 the best, shape (points, objectives).

    Where worst and best are equal, the scaled return is 1.
    """
    array = checked_points(points)
    low, high = np.asarray(worst, dtype=np.float64), np.asarray(best, dtype=np.float64)
    span = high - low
    return np.where(span > 0, (array - low) / np.where(span > 0, span, 1.0), 1.0)


def expected_utility(
    points: npt.ArrayLike, objectives: Sequence[str], weightings: Sequence[SteeringWeights]
) -> float:
    """Expected utility metric (Zintgraf et al. 2015): ``mean_w max_j sum_i w_i r_ji``.

    The mean utility over users with different weights, each of whom takes the point that is best for them.
    Apply `rescale` first to objectives with different units.

    Args:
        points: Returns, shape (points, objectives).
        objectives: Names of the columns.
        weightings: Weights of the users; `simplex_grid` gives evenly spaced ones.

    Raises:
        InputError: A weight names an unknown objective, or there are no weightings.
    """
    array = checked_points(points)
    if array.shape[1] != len(objectives) or not weightings:
        raise InputError(
            f"expected a name for each of {array.shape[1]} columns and at least one weighting, "
            f"found {len(objectives)} and {len(weightings)}"
        )
    users = np.stack([weights.aligned_to(objectives) for weights in weightings])
    return float((users @ array.T).max(1).mean())


def _moocore() -> Any:
    # Its import takes time that playing a policy does not need.
    return importlib.import_module("moocore")


def checked_points(points: npt.ArrayLike) -> FloatArray:
    """Points as an array.

    Raises:
        InputError: The points are not a finite array of shape (points, objectives).
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected finite points of shape (points, objectives): {error}") from error
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise InputError(f"expected finite points of shape (points, objectives), found shape {array.shape}")
    return array
