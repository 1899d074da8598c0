"""What a surrogate that saw a few weightings says of the others, compared with their outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.core.pareto import hypervolume
from pluralign.steer.surrogate import fit_surrogate

USERS = 5
"""Steps of the grid of users: 21 with three objectives."""


class Outcomes(Protocol):
    """Outcomes of a grid of weightings, scaled to their range over it."""

    names: list[str]
    grid: list[pl.SteeringWeights]
    array: FloatArray
    """The grid's weights, shape (weightings, objectives)."""
    exact: FloatArray
    """Its outcomes, shape (weightings, objectives)."""
    reference: FloatArray

    def of(self, weights: pl.SteeringWeights) -> FloatArray:
        """Outcomes of one weighting, shape (objectives,)."""
        ...


def users_of(names: Sequence[str]) -> list[pl.SteeringWeights]:
    """Simulated users, by the importance of each objective; none of them wants a single one."""
    return [weights for weights in pl.simplex_grid(names, USERS) if max(weights.values()) < 1]


def figures(
    outcomes: Outcomes, chosen: Sequence[pl.SteeringWeights], seen: FloatArray,
    users: Sequence[pl.SteeringWeights],
) -> dict[str, float]:  # fmt: skip
    """Figures of a surrogate.

    Args:
        outcomes: Outcomes of the grid.
        chosen: Weightings that the surrogate sees.
        seen: Their outcomes, as the surrogate sees them.
        users: Simulated users.
    """
    found = fit_surrogate(chosen, seen, objectives=outcomes.names)
    new = np.array([weights not in chosen for weights in outcomes.grid])
    exact = outcomes.exact[new]
    squares = ((exact - found.predict(outcomes.array[new])) ** 2).sum(axis=0)
    # Where nothing varies, nothing is left to explain.
    shares = 1 - squares / np.maximum(((exact - exact.mean(axis=0)) ** 2).sum(axis=0), 1e-12)
    regrets = [regret(outcomes, wish, found.weights_for(wish)) for wish in users]
    evaluated = np.array([outcomes.of(weights) for weights in chosen])
    whole = hypervolume(outcomes.exact, outcomes.reference)
    return {
        "r2": float(shares.mean()), "least_r2": float(shares.min()), "regret": float(np.mean(regrets)),
        "volume": hypervolume(evaluated, outcomes.reference) / whole,
    }  # fmt: skip


def regret(outcomes: Outcomes, wish: pl.SteeringWeights, weights: pl.SteeringWeights) -> float:
    """Utility lost against the best weighting of the grid, in shares of the utility's range over the grid."""
    importance = wish.aligned_to(outcomes.names)
    utilities = outcomes.exact @ importance
    lost = float(utilities.max() - outcomes.of(weights) @ importance)
    return lost / float(np.ptp(utilities) or 1.0)
