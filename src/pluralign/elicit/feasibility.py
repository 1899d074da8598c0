"""Whether any linear weights explain choices, and which choices contradict each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.choice import Choice
from pluralign.elicit.choice_data import answer_numbers, count_answers, objectives_of, value_scales, values_of

# scipy has no types.
_optimize: Any = import_module("scipy.optimize")

# Seconds for each of the two searches over subsets.
_SECONDS = 10.0
# Smallest margin, as a share of the largest difference, that counts as strict.
_STRICT = 1e-7
# Margin that is asked of the answers that are left, as such a share: to the solver a millionth of an answer
# is none, and a millionth of the slack of one that is removed may not make up for it.
_KEPT = 1e-5


@dataclass(frozen=True)
class Feasibility:
    """Whether some weights put every option taken above the options left.

    Args:
        margin: Largest margin, in standard deviations of the values, by which some weights explain all
            answers; 0 or below if none do.
        weights: Weights that attain the margin; None if no answer says anything.
        contradicting: Numbers (`answer_numbers`) of a smallest set of answers that no weights explain
            together; empty if there is none.
        removed: Numbers of a smallest set of answers without which some weights explain the rest.
        exact: Whether both sets are proven to be smallest.
    """

    margin: float
    weights: SteeringWeights | None
    contradicting: tuple[int, ...]
    removed: tuple[int, ...]
    exact: bool

    @property
    def feasible(self) -> bool:
        """Whether some weights explain all answers."""
        return self.margin > 0

    @property
    def least_violation(self) -> float:
        """Probability with which some contradicting answer is violated at least, whatever the weights.

        Of n answers that cannot hold together, each order violates one, so one is violated with probability
        1/n or more under any distribution over orders (after Eckersley 2018).
        """
        return 1 / len(self.contradicting) if self.contradicting else 0.0


def explained_by_weights(
    choices: Sequence[Choice], *, scales: Mapping[str, float] | None = None
) -> Feasibility:
    """Find weights that explain all answers, or the answers that contradict each other.

    A linear programme finds weights w on the simplex with the largest margin m such that
    w.(g(taken) - g(left)) >= m for every answer. By duality no weights have a positive margin if and only if
    some convex combination of these differences is at most 0 in every objective; the fewest answers with such
    a combination are the contradicting ones. Answers "about the same" demand nothing.

    Args:
        choices: Choices with values for the same objectives.
        scales: Unit of each objective's values, by default their deviation (`value_scales`); only the margin
            depends on it.

    Raises:
        InputError: There are no choices, or their objectives differ.
    """
    names = objectives_of([choice.question for choice in choices])
    known = scales or value_scales([choice.question for choice in choices])
    units = np.array([known[name] for name in names])
    apart, owner = _differences(choices, names)
    if not len(apart):
        return Feasibility(np.inf, None, (), (), True)
    apart = apart / units
    # The solvers' tolerances are those of numbers of about 1.
    size = float(np.abs(apart).max()) or 1.0
    apart = apart / size
    objective = np.append(np.zeros(len(names)), -1.0)
    found = _optimize.linprog(
        objective,
        A_ub=np.column_stack([-apart, np.ones(len(apart))]),
        b_ub=np.zeros(len(apart)),
        A_eq=np.append(np.ones(len(names)), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * len(names) + [(None, None)],
    )
    margin = float(-found.fun)
    weights = SteeringWeights(dict(zip(names, _on_simplex(found.x[:-1]), strict=True)))
    if margin > _STRICT:
        return Feasibility(margin * size, weights, (), (), True)
    answers = count_answers(choices)
    contradicting, first = _contradicting(apart, owner, answers)
    removed, second = _removed(apart, owner, answers)
    return Feasibility(min(margin * size, 0.0), weights, contradicting, removed, first and second)


def _on_simplex(found: FloatArray) -> list[float]:
    weights = found.clip(min=0.0)
    return (weights / weights.sum()).tolist()


def _differences(choices: Sequence[Choice], names: Sequence[str]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Differences between what was taken and what was left, and the answer that each belongs to."""
    rows: list[FloatArray] = []
    owner: list[int] = []
    for number, choice in zip(answer_numbers(choices).tolist(), choices, strict=True):
        values = values_of(choice.question, names)
        left = set(range(len(values)))
        for place in choice.ranking:
            left.discard(place)
            for other in sorted(left):
                rows.append(values[place] - values[other])
                owner.append(number)
    return np.array(rows).reshape(-1, len(names)), np.array(owner, dtype=np.int64)


def _contradicting(
    apart: FloatArray, owner: npt.NDArray[np.int64], choices: int
) -> tuple[tuple[int, ...], bool]:
    """Fewest choices with a convex combination of differences that is at most 0 in every objective."""
    rows = len(apart)
    belongs = np.zeros((rows, choices))
    belongs[np.arange(rows), owner] = 1.0
    constraints = [
        _optimize.LinearConstraint(
            np.hstack([apart.T, np.zeros((apart.shape[1], choices))]), -np.inf, _STRICT
        ),
        _optimize.LinearConstraint(np.append(np.ones(rows), np.zeros(choices))[None], 1.0, 1.0),
        _optimize.LinearConstraint(np.hstack([np.eye(rows), -belongs]), -np.inf, 0.0),
    ]
    return _smallest(rows, choices, constraints)


def _removed(apart: FloatArray, owner: npt.NDArray[np.int64], choices: int) -> tuple[tuple[int, ...], bool]:
    """Fewest choices without which the others have weights with a strict margin."""
    rows, names = apart.shape
    slack = np.zeros((rows, choices))
    # The most that a row can lack on the simplex.
    slack[np.arange(rows), owner] = (_KEPT - apart.min(axis=1)).clip(min=0.0)
    constraints = [
        _optimize.LinearConstraint(np.hstack([apart, slack]), _KEPT, np.inf),
        _optimize.LinearConstraint(np.append(np.ones(names), np.zeros(choices))[None], 1.0, 1.0),
    ]
    return _smallest(names, choices, constraints)


def _smallest(continuous: int, choices: int, constraints: list[Any]) -> tuple[tuple[int, ...], bool]:
    cost = np.append(np.zeros(continuous), np.ones(choices))
    whole = np.append(np.zeros(continuous), np.ones(choices))
    found = _optimize.milp(
        cost,
        constraints=constraints,
        integrality=whole,
        bounds=(0, 1),
        options={"time_limit": _SECONDS},
    )
    if found.x is None:
        return (), False
    return tuple(np.flatnonzero(found.x[continuous:] > 0.5).tolist()), found.status == 0
