"""Weightings of a sweep: a grid, a budget of weightings that fill the simplex, or a dial's proposals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.steer.design import design
from pluralign.steer.suggest import load_dial

PROPOSALS = 10
"""Default number of a dial's proposals."""


def weightings(
    objectives: Sequence[str], steps: int, budget: int | None, dial: str | Path | None = None
) -> list[SteeringWeights]:
    """Weightings of a sweep, in the order of `simplex_grid`: by increasing weights.

    Args:
        objectives: Objectives.
        steps: Number of steps of the grid, at least 1; not used if there is a budget or a dial.
        budget: Number of weightings that fill the simplex (`steer.design.design`), or of a dial's proposals.
        dial: Folder of a dial, whose predicted front is to be evaluated (`Surrogate.proposals`).

    Raises:
        InputError: There is no objective or no step, the budget does not fit, or the dial is of other
            objectives.
    """
    if dial is not None:
        found = load_dial(dial)
        if set(found.objectives) != set(objectives):
            raise InputError(
                f"is for {', '.join(found.objectives)}; policies are {', '.join(objectives)}",
                field="dial",
            )
        proposed = found.proposals(PROPOSALS if budget is None else budget)
        return [SteeringWeights({name: weights[name] for name in objectives}) for weights in proposed]
    if budget is None:
        return simplex_grid(objectives, steps)
    return sorted(design(objectives, budget), key=lambda weights: tuple(weights.aligned_to(objectives)))
