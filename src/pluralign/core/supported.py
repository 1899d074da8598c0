"""Points of a front that linear weights reach, and lots that beat the others; objectives are maximised."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core.pareto import checked_points

# Margins below this share of the range count as ties.
_TIE = 1e-9


@dataclass(frozen=True)
class Lot:
    """A random choice between points, once per episode, that is better in expectation than another point.

    Args:
        shares: Probability of each point of the lot, by its row.
        margin: Gain in every objective at least, in shares of the objective's range over all points.
    """

    shares: dict[int, float]
    margin: float


def supported_points(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mask of the points that are optimal for some non-negative weights, shape (points,).

    Ties count: a point in the middle of an edge of the convex hull is optimal for the edge's weights. One
    linear programme per point; "supported" is the term of multi-objective programming.

    Args:
        points: Returns, shape (points, objectives).

    Raises:
        InputError: The points are not a finite array of shape (points, objectives).

    Examples:
        >>> supported_points([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]]).tolist()
        [True, False, True]
    """
    array = _scaled(points)
    found = [_best_margin(array, row) >= -_TIE for row in range(len(array))]
    return np.array(found)


def better_lot(points: npt.ArrayLike, row: int) -> Lot:
    """The lot between points that beats one of them most in its least gain.

    For a point that no weights reach there is always one with a margin above 0 (theorem of the alternative).

    Args:
        points: Returns, shape (points, objectives).
        row: Row of the point.

    Raises:
        InputError: The points are not a finite array of shape (points, objectives).
    """
    array = _scaled(points)
    count, objectives = array.shape
    found = _linprog()(
        np.append(np.zeros(count), -1.0),
        A_ub=np.column_stack([-array.T, np.ones(objectives)]),
        b_ub=-array[row],
        A_eq=np.append(np.ones(count), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * count + [(None, None)],
    )
    shares = {place: float(share) for place, share in enumerate(found.x[:-1]) if share > _TIE}
    return Lot(shares, float(found.x[-1]))


def _best_margin(array: npt.NDArray[np.float64], row: int) -> float:
    """Largest margin by which some weights prefer a point to every other."""
    apart = array[row] - np.delete(array, row, axis=0)
    if not len(apart):
        return 0.0
    objectives = array.shape[1]
    found = _linprog()(
        np.append(np.zeros(objectives), -1.0),
        A_ub=np.column_stack([-apart, np.ones(len(apart))]),
        b_ub=np.zeros(len(apart)),
        A_eq=np.append(np.ones(objectives), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * objectives + [(None, None)],
    )
    return float(found.x[-1])


def _scaled(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = checked_points(points)
    span = np.ptp(array, axis=0)
    return (array - array.min(axis=0)) / np.where(span > 0, span, 1.0)


def _linprog() -> Any:
    # scipy is slow to import.
    return importlib.import_module("scipy.optimize").linprog
