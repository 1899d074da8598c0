"""Objectives that choices go against: perhaps less of them is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.core.choice import Choice
from pluralign.elicit.choice_data import choice_data, objectives_of
from pluralign.losses.choice import choice_derivatives

# scipy has no types.
_optimize: Any = import_module("scipy.optimize")

# Standard errors below zero from which a negative weight is no chance.
_CLEARLY = 3.0
# Precision of a normal prior around 0, so that answers that agree perfectly have a maximum.
_PRECISION = 0.01


def objectives_against(choices: Sequence[Choice], scales: Mapping[str, float]) -> tuple[str, ...]:
    """Objectives whose weights are clearly negative in a logit whose weights may have any sign.

    Weights on the simplex cannot be negative: an objective that people want less of gets a weight near 0, as
    if it did not matter. Other objectives are held constant, so that trade-offs between them do not count.

    Args:
        choices: Choices with values for the same objectives.
        scales: Unit of each objective's values.
    """
    names = objectives_of([choice.question for choice in choices])
    data = choice_data(choices, names, scales)
    size = data.values.shape[2]

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient, _ = choice_derivatives(data.values, data.offered, data.chosen, data.weights, theta)
        return 0.5 * _PRECISION * float(theta @ theta) - value, _PRECISION * theta - gradient

    found = _optimize.minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B")
    _, _, hessian = choice_derivatives(data.values, data.offered, data.chosen, data.weights, found.x)
    errors = np.sqrt(np.linalg.inv(_PRECISION * np.eye(size) - hessian).diagonal())
    return tuple(
        name
        for name, weight, error in zip(names, found.x, errors, strict=False)
        if weight < -_CLEARLY * error
    )
