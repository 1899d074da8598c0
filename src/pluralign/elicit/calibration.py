"""The dial whose mixture acts by a user's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, cast

import numpy as np

from pluralign.core import InputError, Policy, SteeringWeights, simplex_grid
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.choice import Choice, Question
from pluralign.core.progress import ProgressBar
from pluralign.elicit.choice_data import (
    ChoiceData,
    choice_data,
    objectives_of,
    value_scales,
    without_ties,
)
from pluralign.losses.choice import choice_derivatives

# Steps of the grid on which the best dial is looked for, by number of objectives.
_FINE = {2: 1000, 3: 100, 4: 30}
_COARSE = 12
# Steps of dials that are looked for around the best of the grid, and differences that are none.
_FINEST, _ROUNDING = 1e-3, 1e-9


@dataclass(frozen=True, eq=False)
class Calibration:
    """Implied weights of a mixture under each dial of a grid.

    Args:
        objectives: Objectives, in the order of the columns.
        dials: Weights of the mixture, shape (dials, objectives).
        implied: Weights by which the mixture acts, shape (dials, objectives).
        scales: Unit of each objective's values; implied weights are those of values in these units.
    """

    objectives: tuple[str, ...]
    dials: FloatArray
    implied: FloatArray
    scales: Mapping[str, float]

    def dial(self, wanted: SteeringWeights) -> tuple[SteeringWeights, float]:
        """The dial whose implied weights are nearest to what a user wants.

        Implied weights are interpolated linearly between dials: with two objectives along the grid, with more
        on its triangulation.

        Args:
            wanted: Weights of the values.

        Returns:
            Weights for the mixture, and the distance of their implied weights from those wanted (sum of
            absolute differences); it is large where no dial acts so.

        Raises:
            InputError: A weight names an objective that is not calibrated.
        """
        goal = wanted.aligned_to(self.objectives)
        steps = _FINE.get(len(self.objectives), _COARSE)
        fine = [weights.aligned_to(self.objectives) for weights in simplex_grid(self.objectives, steps)]
        candidates = np.array(fine)
        apart = np.abs(self._interpolated(candidates) - goal).sum(axis=1)
        # Where several dials act alike, the one nearest to the wanted weights themselves.
        near = np.flatnonzero(apart <= apart.min() + 1e-9)
        best = near[np.abs(candidates[near] - goal).sum(axis=1).argmin()]
        found, off = self._refined(candidates[best], float(apart[best]), goal, 1 / steps)
        return SteeringWeights(dict(zip(self.objectives, found.tolist(), strict=True))), off

    def _refined(
        self, dial: FloatArray, off: float, goal: FloatArray, step: float
    ) -> tuple[FloatArray, float]:
        """A dial and how far it is off, after moves of weight from one objective to another that help: the
        steps of a grid of many objectives are coarse, and would be reported as what no dial attains."""
        unit = np.eye(len(dial))
        moves = (unit[:, None] - unit[None]).reshape(-1, len(dial))
        while step > _FINEST:
            near = dial + step * moves
            near = near[(near >= -_ROUNDING).all(axis=1)].clip(min=0.0)
            apart = np.abs(self._interpolated(near) - goal).sum(axis=1)
            best = int(apart.argmin())
            if apart[best] < off - _ROUNDING:
                dial, off = near[best], float(apart[best])
            else:
                step /= 2
        return dial / dial.sum(), off

    def _interpolated(self, dials: FloatArray) -> FloatArray:
        if len(self.objectives) == 2:
            order = np.argsort(self.dials[:, 0])
            first: FloatArray = cast("Any", np).interp(
                dials[:, 0], self.dials[order, 0], self.implied[order, 0]
            )
            return np.column_stack([first, 1.0 - first])
        found: FloatArray = self._triangulated(dials[:, :-1])
        missing = np.isnan(found).any(axis=1)
        found[missing] = np.inf
        return found

    @cached_property
    def _triangulated(self) -> Callable[[FloatArray], FloatArray]:
        interpolate: Any = import_module("scipy.interpolate")
        # The last weight follows from the others.
        return interpolate.LinearNDInterpolator(self.dials[:, :-1], self.implied)


@checked
def calibrate(
    pool: Sequence[Question], steered: Callable[[SteeringWeights], Policy], *, steps: int = 10
) -> Calibration:
    """Find by which weights a mixture acts under each dial of a grid.

    The mixture answers every question of the pool, and its probabilities count as answers, so nothing is
    sampled. Policies that are each the model tilted by exp(beta_k times objective k) have implied weights
    proportional to dial_k beta_k; learned policies do not, which is why the dial is not the weight.

    Args:
        pool: Questions with values of the objectives.
        steered: Function from weights to the mixture, for instance ``SteeredPolicy(...).with_weights``.
        steps: Number of steps of the grid: dials are multiples of 1/steps.

    Raises:
        InputError: The pool is empty, or the mixture gives no probabilities for a question.
    """
    names = objectives_of(pool)
    scales = value_scales(pool)
    grid = simplex_grid(names, steps)
    decisions = [question.decision for question in pool]
    implied: list[FloatArray] = []
    with ProgressBar(len(grid), "calibrate", unit="dial") as bar:
        for weights in grid:
            log_probs = steered(weights).log_probs(decisions)
            choices = [
                Choice(without_ties(question), place, weight=float(probability))
                for question, own in zip(pool, log_probs, strict=True)
                for place, probability in enumerate(_probabilities(own, question))
                if probability > 1e-12
            ]
            implied.append(_most_likely(choice_data(choices, names, scales)))
            bar.advance()
    dials = np.array([weights.aligned_to(names) for weights in grid])
    return Calibration(names, dials, np.array(implied), scales)


def _most_likely(data: ChoiceData) -> FloatArray:
    """Weights of the utility that makes choices most likely: the log-likelihood is concave in theta >= 0."""
    # scipy has no types, and is slow to import.
    optimize: Any = import_module("scipy.optimize")

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient, _ = choice_derivatives(data.values, data.offered, data.chosen, data.weights, theta)
        return -value, -gradient

    size = data.values.shape[2]
    found = optimize.minimize(loss, np.ones(size), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * size)
    theta: FloatArray = found.x
    total = float(theta.sum())
    return theta / total if total > 0 else np.ones(size) / size


def _probabilities(log_probs: FloatArray, question: Question) -> FloatArray:
    if len(log_probs) != len(question.values):
        raise InputError(
            f"expected {len(question.values)} log-probabilities, found {len(log_probs)}", field="steered"
        )
    return np.exp(log_probs)
