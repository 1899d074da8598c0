"""Utilities other than weighted sums, and whether they explain choices better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked, require_seed
from pluralign.core.choice import Choice
from pluralign.elicit.choice_data import (
    ChoiceData,
    choice_data,
    count_answers,
    objectives_of,
    per_owner,
    value_scales,
    without_ties,
)
from pluralign.elicit.posterior import LAPSE
from pluralign.elicit.prior import DECISIVENESS
from pluralign.losses.choice import choice_derivatives, choice_log_likelihood

# scipy has no types.
_optimize: Any = import_module("scipy.optimize")
_special: Any = import_module("scipy.special")
Utility = Callable[[FloatArray, FloatArray], FloatArray]
"""Function from values in [0, 1], shape (..., objectives), and parameters to utilities, shape (...)."""


@dataclass(frozen=True)
class _Weighted:
    """A utility that is a sum of features times exp(parameters), so that its gradient is known.

    Args:
        features: Function from values to features, shape (..., parameters).
    """

    features: Callable[[FloatArray], FloatArray]

    def __call__(self, values: FloatArray, x: FloatArray) -> FloatArray:
        return self.features(values) @ np.exp(x)


LINEAR = "linear"
# Probability that any other utility is named for somebody whom linear utility describes, about.
_ERROR = 0.05
_FOLDS = 5
LEAST_CHOICES = 2 * _FOLDS
"""Number of answers that a comparison needs."""
# Values are at least this, so that powers and ratios of them are finite.
_SMALLEST = 0.01
_MOST_ORDERS = 120


@dataclass(frozen=True)
class Fit:
    """How well a kind of utility predicts answers that it was not fitted to.

    Args:
        name: ``linear``, ``power mean``, ``worst objective``, ``lexicographic`` or ``threshold``.
        log_likelihood: Mean log-likelihood of an answer, in nats.
        lead: Mean of its log-likelihood minus that of linear utility.
        lead_error: Standard error of the lead.
    """

    name: str
    log_likelihood: float
    lead: float
    lead_error: float


@dataclass(frozen=True)
class Comparison:
    """Kinds of utility, compared by predictions of answers held out.

    Args:
        fits: All kinds, the best first.
        better: Kind that leads linear utility by more than chance does, if any does: by Student's t of its
            lead, where all kinds together err with a probability of about 5 %. Few answers rarely name one.
    """

    fits: tuple[Fit, ...]
    better: str | None


@checked
def compare_utilities(choices: Sequence[Choice], *, lapse: float = LAPSE, seed: int = 0) -> Comparison:
    """Compare a weighted sum of the values with other utilities, by cross-validation.

    - power mean: (sum of w_k g_k^p)^(1/p) with p between -10 and 10;
    - worst objective: the smallest g_k / a_k;
    - lexicographic: the first objective in an order by which options differ by more than a tolerance;
    - threshold: a weighted sum, and a loss if one objective is below a level.

    Values are brought to [0, 1] over all options first. Parameters are fitted by maximum a posteriori with
    the same choice model as `infer_weights`. Answers "about the same" are left out, and so is that they were
    offered: an option is taken or the other one.

    Args:
        choices: Choices of one person, at least 10 answers; the parts of one are held out together.
        lapse: Probability of an answer at random.
        seed: Random seed of the folds.

    Raises:
        InputError: There are fewer than 10 answers, or their objectives differ.
    """
    require_seed(seed)
    known = [replace(choice, question=without_ties(choice.question)) for choice in choices if choice.ranking]
    answers = count_answers(known)
    if answers < LEAST_CHOICES:
        raise InputError(f"needs at least {LEAST_CHOICES} choices, found {answers}", field="choices")
    names = objectives_of([choice.question for choice in known])
    data = choice_data(known, names, value_scales([choice.question for choice in known]))
    values = data.values
    low, high = values[data.offered].min(axis=0), values[data.offered].max(axis=0)
    unit = ((values - low) / np.where(high > low, high - low, 1.0)).clip(_SMALLEST, 1.0)
    fold = np.random.default_rng(seed).permutation(answers) % _FOLDS
    found: dict[str, FloatArray] = {}
    for name, candidates in _families(len(names), unit[data.offered]).items():
        # Features do not depend on the fold.
        prepared = [
            (_Weighted(_same), start, utility.features(unit)) if isinstance(utility, _Weighted)
            else (utility, start, unit)
            for utility, start in candidates
        ]  # fmt: skip
        rows = np.zeros(len(data.chosen), dtype=np.float64)
        for held in range(_FOLDS):
            out = fold[data.answers] == held
            tried = [_fitted(*one, data, ~out, lapse) for one in prepared]
            # The first of equal ones: orders that differ in their last objectives often fit alike.
            place = min(range(len(tried)), key=lambda index: round(tried[index][0], 6))
            utility, _, features = prepared[place]
            rows[out] = _rows(utility, tried[place][1], features, data, out, lapse)
        found[name] = per_owner(data.answers, rows * data.weights, answers)
    fits = [_fit(name, rows, found[LINEAR]) for name, rows in found.items()]
    fits.sort(key=lambda fit: -fit.log_likelihood)
    # The best of several leads is large by chance more often than one, and few answers tell little of errors.
    enough = float(_special.stdtrit(answers - 1, 1 - _ERROR / (len(fits) - 1)))
    leading = [fit for fit in fits if fit.lead > enough * fit.lead_error > 0]
    return Comparison(tuple(fits), leading[0].name if leading else None)


def _fit(name: str, rows: FloatArray, linear: FloatArray) -> Fit:
    lead = rows - linear
    return Fit(name, float(rows.mean()), float(lead.mean()), float(lead.std(ddof=1) / math.sqrt(len(lead))))


def _families(objectives: int, values: FloatArray) -> dict[str, list[tuple[Utility, FloatArray]]]:
    """Kinds of utility, each with its variants and the parameters at which their search begins.

    All parameters have a normal prior around the start.
    """
    weights = np.full(objectives, math.log(4 * DECISIVENESS / objectives))
    strength = np.array([math.log(4 * DECISIVENESS)])
    return {
        LINEAR: [(_Weighted(_same), weights)],
        "power mean": [(_power_mean, np.append(weights, 1.0))],
        "worst objective": [(_worst, np.append(strength, np.zeros(objectives)))],
        # Ranks are whole numbers.
        "lexicographic": [(utility, np.array([math.log(2.0)])) for utility in _orders(objectives)],
        "threshold": [
            (_threshold(k, float(level)), np.append(weights, math.log(DECISIVENESS)))
            for k in range(objectives)
            for level in np.quantile(values[:, k], (0.25, 0.5, 0.75))
        ],
    }


def _same(values: FloatArray) -> FloatArray:
    return values


def _power_mean(values: FloatArray, x: FloatArray) -> FloatArray:
    theta, power = np.exp(x[:-1]), float(np.clip(x[-1], -10, 10))
    total = theta.sum()
    if abs(power) < 1e-3:
        return total * np.exp(np.log(values) @ (theta / total))
    return total * (values**power @ (theta / total)) ** (1 / power)


def _worst(values: FloatArray, x: FloatArray) -> FloatArray:
    return np.exp(x[0]) * (values * np.exp(-x[1:])).min(axis=-1)


def _orders(objectives: int) -> Iterator[Utility]:
    for order in list(permutations(range(objectives)))[:_MOST_ORDERS]:
        for tolerance in (0.02, 0.1, 0.25):
            yield _lexicographic(order, tolerance)


def _lexicographic(order: tuple[int, ...], tolerance: float) -> Utility:
    steps = math.floor(1 / tolerance) + 1

    def features(values: FloatArray) -> FloatArray:
        total = np.zeros(values.shape[:-1])
        for objective in order:
            total = total * steps + np.floor(values[..., objective] / tolerance)
        # Only the order counts: ranks among a question's options.
        return (total[..., None] > total[..., None, :]).sum(axis=-1, keepdims=True).astype(np.float64)

    return _Weighted(features)


def _threshold(objective: int, level: float) -> Utility:
    def features(values: FloatArray) -> FloatArray:
        below = np.where(values[..., objective] < level, -1.0, 0.0)
        return np.concatenate([values, below[..., None]], axis=-1)

    return _Weighted(features)


def _rows(
    utility: Utility,
    x: FloatArray,
    unit: FloatArray,
    data: ChoiceData,
    part: npt.NDArray[np.bool_],
    lapse: float,
) -> FloatArray:
    utilities = np.where(data.offered[part], utility(unit[part], x), 0.0)
    return choice_log_likelihood(
        utilities[..., None], data.offered[part], data.chosen[part], np.ones((1, 1)), lapse
    )[0]


def _fitted(
    utility: Utility,
    start: FloatArray,
    unit: FloatArray,
    data: ChoiceData,
    part: npt.NDArray[np.bool_],
    lapse: float,
) -> tuple[float, FloatArray]:
    """Penalised loss on the training part, and the parameters."""
    if isinstance(utility, _Weighted):
        return _fitted_weights(start, unit[part], data, part, lapse)

    def loss(x: FloatArray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            rows = _rows(utility, x, unit, data, part, lapse)
        total = 0.5 * float(((x - start) ** 2).sum()) - float(rows @ data.weights[part])
        return total if math.isfinite(total) else 1e12

    found = _optimize.minimize(loss, start, method="L-BFGS-B")
    return float(found.fun), found.x


def _fitted_weights(
    start: FloatArray, features: FloatArray, data: ChoiceData, part: npt.NDArray[np.bool_], lapse: float
) -> tuple[float, FloatArray]:
    """As `_fitted`, of a utility with a known gradient."""
    offered, chosen, weights = data.offered[part], data.chosen[part], data.weights[part]

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        with np.errstate(over="ignore", invalid="ignore"):
            theta = np.exp(x)
            fit, slope, _ = choice_derivatives(features, offered, chosen, weights, theta, lapse)
        total, gradient = 0.5 * float(((x - start) ** 2).sum()) - fit, x - start - slope * theta
        return (total, gradient) if math.isfinite(total) else (1e12, np.zeros_like(x))

    found = _optimize.minimize(loss, start, jac=True, method="L-BFGS-B")
    return float(found.fun), found.x
