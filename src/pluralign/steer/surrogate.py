"""A surrogate of a sweep: predicted outcomes of weights that were not tried.

A sweep maps steering weights to outcomes: mean returns or rewards of the steered policy. The map is smooth,
so a few evaluated weightings predict the others (MAP, Li et al. 2024, arXiv 2406.07529, which fits quadratics
to merged models; here also for mixtures and guidance). Mixtures of sharp policies change faster between two
corners than a quadratic can, so a Gaussian process predicts the quadratic's residuals: universal kriging
(Rasmussen and Williams 2006, section 2.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.core.arrays import FloatArray, as_floats, varies
from pluralign.core.checks import checked, require_at_least
from pluralign.core.pareto import non_dominated
from pluralign.steer.design import fill, fine_grid, least_points
from pluralign.steer.kriging import Link, Part, fitted_parts, predicted, quadratic_terms

_FIRST_STEP, _SMALLEST_STEP = 0.01, 1e-4


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Predictions of each objective's outcome from the weights, made by `fit_surrogate`.

    On the simplex, the quadratic form sum_{i<=j} a_ij w_i w_j includes all constant and linear terms, since
    weights sum to 1: N(N+1)/2 coefficients for N objectives.

    Args:
        objectives: Objectives, in the order of all columns.
        weightings: Evaluated weights, shape (points, objectives).
        outcomes: Their outcomes, shape (points, objectives).
        link: Function that is applied to the predictions.
        parts: Fitted prediction of each outcome.
    """

    objectives: tuple[str, ...]
    weightings: FloatArray
    outcomes: FloatArray
    link: Link
    parts: tuple[Part, ...]

    def predict(self, weightings: npt.ArrayLike) -> FloatArray:
        """Predicted outcomes, shape (weightings, objectives).

        Args:
            weightings: Weights in the order of ``objectives``, shape (weightings, objectives).
        """
        return predicted(self.parts, self.weightings, np.asarray(weightings, dtype=np.float64), self.link)

    @checked
    def at(self, weights: SteeringWeights) -> dict[str, float]:
        """Predicted outcome of each objective under these weights.

        Raises:
            InputError: A weight names an unknown objective.
        """
        (found,) = self.predict(weights.aligned_to(self.objectives)[None])
        return dict(zip(self.objectives, found.tolist(), strict=True))

    @property
    def units(self) -> FloatArray:
        """Range of each outcome over the evaluated weightings, 1 if it is 0; shape (objectives,)."""
        return np.where(varies(self.outcomes), np.ptp(self.outcomes, axis=0), 1.0)

    @checked
    def weights_for(self, wish: SteeringWeights) -> SteeringWeights:
        """Weights with the highest predicted utility for a user with these wishes.

        The utility is the sum of wishes times outcomes, in units of each outcome's range over the evaluated
        weightings. An objective whose wish is 0 keeps weight 0, and a wish for one objective is that
        objective's policy.

        Args:
            wish: Importance of each objective's outcome.

        Raises:
            InputError: A wish names an unknown objective.
        """
        importance = wish.aligned_to(self.objectives) / self.units
        wanted = np.flatnonzero(importance > 0)
        if len(wanted) == 1:
            return SteeringWeights.one_hot(self.objectives[int(wanted[0])], self.objectives)
        grid = fine_grid(len(wanted))
        full = np.zeros((len(grid), len(self.objectives)))
        full[:, wanted] = grid
        best = full[int((self.predict(full) @ importance).argmax())]
        found = self._refined(best, importance, wanted)
        return SteeringWeights(dict(zip(self.objectives, found.tolist(), strict=True)))

    def front(self, steps: int = 20) -> list[SteeringWeights]:
        """Weightings of a grid whose predicted outcomes no other weighting of the grid dominates.

        A predicted front is optimistic: of several errors, the favourable ones are selected. Evaluate what is
        taken from it.

        Args:
            steps: Number of steps of the grid: weights are multiples of 1/steps.
        """
        grid = simplex_grid(self.objectives, steps)
        kept = non_dominated(self.predict([weights.aligned_to(self.objectives) for weights in grid]))
        return [weights for weights, on in zip(grid, kept.tolist(), strict=True) if on]

    def proposals(self, number: int, steps: int = 20) -> list[SteeringWeights]:
        """Weightings of the predicted front that lie far from each other, to be evaluated; all of them if
        there are fewer. They are sorted by increasing weights.

        Args:
            number: Number of weightings, 2 or more.
            steps: Number of steps of the grid.

        Raises:
            InputError: The number is too small.
        """
        require_at_least(2, number=number)
        front = np.array([weights.aligned_to(self.objectives) for weights in self.front(steps)])
        chosen = fill(front, front[:1], number)
        return [
            SteeringWeights(dict(zip(self.objectives, row, strict=True))) for row in sorted(chosen.tolist())
        ]

    def r2(self) -> dict[str, float] | None:
        """Share of each outcome's variance that the surrogate predicts, each weighting left out in turn: all
        of its points, if it was evaluated more than once.

        None with as few weightings as coefficients, where none can be left out; NaN for a constant outcome.
        """
        different, own = np.unique(np.round(self.weightings, 9), axis=0, return_inverse=True)
        if len(different) <= least_points(len(self.objectives)):
            return None
        left_out = np.empty_like(self.outcomes)
        for number in range(len(different)):
            out = own == number
            seen = self.weightings[~out]
            parts = fitted_parts(seen, self.outcomes[~out], self.link)
            left_out[out] = predicted(parts, seen, self.weightings[out], self.link)
        squares = ((self.outcomes - left_out) ** 2).sum(axis=0)
        total = ((self.outcomes - self.outcomes.mean(axis=0)) ** 2).sum(axis=0)
        known = varies(self.outcomes) & (total > 0)
        shares = np.where(known, 1.0 - squares / np.where(known, total, 1.0), np.nan)
        return dict(zip(self.objectives, shares.tolist(), strict=True))

    def _refined(
        self, weights: FloatArray, importance: FloatArray, wanted: npt.NDArray[np.int64]
    ) -> FloatArray:
        """Ascent from a grid point: weight moves between two objectives as long as that helps."""
        step, best = _FIRST_STEP, float((self.predict(weights[None]) @ importance)[0])
        while step >= _SMALLEST_STEP:
            moves = [
                moved
                for here in wanted
                for there in wanted
                if here != there and (moved := _moved(weights, here, there, step)) is not None
            ]
            values = self.predict(np.array(moves)) @ importance if moves else np.array([-np.inf])
            if values.max() > best + 1e-12:
                weights, best = moves[int(values.argmax())], float(values.max())
            else:
                step /= 2
        return weights


@checked
def fit_surrogate(
    weightings: Sequence[SteeringWeights],
    outcomes: npt.ArrayLike,
    *,
    objectives: Sequence[str] | None = None,
    link: Link = "identity",
) -> Surrogate:
    """Fit a surrogate to evaluated weightings: a quadratic, and a Gaussian process for its residuals.

    With as many points as coefficients it is the quadratic through the points. Correlation length and noise
    (a sweep's outcomes are means of samples) are those of the highest restricted likelihood.

    Args:
        weightings: Evaluated weights, at least N(N+1)/2 for N objectives.
        outcomes: Outcome of each objective under each weighting, for instance mean returns; shape
            (weightings, objectives).
        objectives: Objectives in the order of the outcomes' columns; by default the order of the first
            weighting.
        link: Function that is applied to the predictions; with one other than ``identity``, the outcomes'
            inverse link is fitted.

    Raises:
        InputError: There are too few points, they do not determine the coefficients, an outcome is not finite
            or out of the link's range, or shapes do not match.

    Examples:
        >>> import pluralign as pl
        >>> grid = pl.simplex_grid(["kind", "brief"], 2)
        >>> dial = pl.fit_surrogate(grid, [[0.0, 1.0], [0.75, 0.75], [1.0, 0.0]])
        >>> round(dial.at(pl.SteeringWeights(kind=0.25, brief=0.75))["kind"], 4)
        0.4375
        >>> round(dial.weights_for(pl.SteeringWeights(kind=0.5, brief=0.5))["kind"], 4)
        0.5
    """
    for number, weights in enumerate(weightings, start=1):
        if not isinstance(weights, SteeringWeights):
            raise InputError(f"expected SteeringWeights, found {weights!r:.60}", row=number)
    names = tuple(weightings[0] if objectives is None and weightings else objectives or ())
    found = as_floats(outcomes, "outcomes")
    if len(names) < 2 or found.shape != (len(weightings), len(names)):
        raise InputError(
            f"expected outcomes of shape ({len(weightings)}, {len(names)}) and two or more objectives, found "
            f"{found.shape}",
            field="outcomes",
        )
    if not np.isfinite(found).all():
        raise InputError("must be finite", field="outcomes")
    array = np.array([weights.aligned_to(names) for weights in weightings]).reshape(-1, len(names))
    needed = least_points(len(names))
    rank = int(np.linalg.matrix_rank(quadratic_terms(array)))
    if rank < needed:
        raise InputError(
            f"expected {needed} or more weightings that determine a quadratic of {len(names)} objectives, "
            f"found {len(array)} of rank {rank}",
            field="weightings",
        )
    return Surrogate(names, array, found, link, fitted_parts(array, found, link))


def _moved(weights: FloatArray, here: int, there: int, step: float) -> FloatArray | None:
    """Weights with a part of one moved to another; None if there is none to move."""
    part = min(step, float(weights[here]))
    if part <= 0:
        return None
    moved = weights.copy()
    moved[here] -= part
    moved[there] += part
    return moved
