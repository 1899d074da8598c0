"""Weightings at which a sweep is evaluated if its budget is small, and grids that are searched."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.core.arrays import FloatArray

# Largest number of weightings of a grid that is searched, and its largest number of steps.
_MOST = 6000
_STEPS = 100
# Distance below which two weightings are the same.
_SAME = 1e-9


def least_points(objectives: int) -> int:
    """Number of coefficients of a quadratic form, the smallest number of evaluated weightings."""
    return objectives * (objectives + 1) // 2


def design(objectives: Sequence[str], budget: int) -> list[SteeringWeights]:
    """Weightings that fill the simplex: corners, centre, then always the one farthest from all others.

    Args:
        objectives: Names of two or more objectives.
        budget: Number of weightings.

    Raises:
        InputError: The budget is below the number of a surrogate's coefficients, or above the number of
            weightings that there are.

    Examples:
        >>> import pluralign as pl
        >>> [weights.to_text() for weights in pl.steer.design.design(["a", "b"], 3)]
        ['a=1', 'b=1', 'a=0.5,b=0.5']
    """
    names = list(objectives)
    if budget < (needed := least_points(len(names))):
        raise InputError(
            f"must be at least {needed} with {len(names)} objectives, found {budget}", field="budget"
        )
    chosen = np.concatenate([np.eye(len(names)), np.full((1, len(names)), 1.0 / len(names))])
    grid = fine_grid(len(names))
    if budget > (most := len(chosen) + int((_apart(grid, chosen) > _SAME).sum())):
        raise InputError(
            f"must be at most {most} with {len(names)} objectives, found {budget}", field="budget"
        )
    filled = fill(grid, chosen, budget)
    return [SteeringWeights(dict(zip(names, row, strict=True))) for row in filled.tolist()]


def fill(grid: FloatArray, chosen: FloatArray, number: int) -> FloatArray:
    """Weightings with others of a grid, always the one farthest from all so far, as long as one is new.

    Args:
        grid: Weightings to choose from, shape (weightings, objectives).
        chosen: Weightings to begin with, shape (chosen, objectives).
        number: Number of weightings in the end.
    """
    apart = _apart(grid, chosen)
    while len(chosen) < number and apart.max() > _SAME:
        # Of equally distant weightings the first, so that a larger budget extends a smaller one's design.
        new = grid[int(np.argmax(np.round(apart, 9)))]
        chosen = np.concatenate([chosen, new[None]])
        apart = np.minimum(apart, np.sqrt(((grid - new) ** 2).sum(axis=1)))
    return chosen


def _apart(grid: FloatArray, chosen: FloatArray) -> FloatArray:
    distances: FloatArray = np.sqrt(((grid[:, None] - chosen[None]) ** 2).sum(axis=2)).min(axis=1)
    return distances


def fine_grid(objectives: int) -> FloatArray:
    """The finest grid of the simplex with at most `_MOST` weightings, shape (weightings, objectives)."""
    names = [str(number) for number in range(objectives)]
    steps = _STEPS
    while steps > 2 and _size(objectives, steps) > _MOST:
        steps -= 2
    return np.array([weights.aligned_to(names) for weights in simplex_grid(names, steps)])


def _size(objectives: int, steps: int) -> int:
    return comb(steps + objectives - 1, objectives - 1)
