"""Weightings of a sweep: a grid, or a budget of weightings that fill the simplex."""

from __future__ import annotations

from collections.abc import Sequence

from pluralign.core import SteeringWeights, simplex_grid
from pluralign.steer.design import design


def weightings(objectives: Sequence[str], steps: int, budget: int | None) -> list[SteeringWeights]:
    """Weightings of a sweep, in the order of `simplex_grid`: by increasing weights.

    Args:
        objectives: Objectives.
        steps: Number of steps of the grid, at least 1; not used if there is a budget.
        budget: Number of weightings that fill the simplex (`steer.design.design`).

    Raises:
        InputError: There is no objective or no step, or the budget is too small.
    """
    if budget is None:
        return simplex_grid(objectives, steps)
    return sorted(design(objectives, budget), key=lambda weights: tuple(weights.aligned_to(objectives)))
