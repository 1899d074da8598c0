"""Posteriors of weights as files, for servers that use them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.core.files import read_json, write_json
from pluralign.core.jsonl import is_list, is_object
from pluralign.elicit.posterior import WeightPosterior
from pluralign.elicit.prior import SimplexPrior

# Draws with equal probabilities that a file holds.
_DRAWS = 400
_DIGITS = 5


def save_posterior(posterior: WeightPosterior, path: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Write a posterior: its summary, and draws for those who decide with it.

    Args:
        posterior: Posterior of one person's weights.
        path: JSON file to write.
        more: Further entries.

    Returns:
        The summary and the further entries.
    """
    summary = {**posterior.to_json(), **more}
    draws = _even_draws(posterior, _DRAWS)
    write_json(path, {**summary, "draws": [[float(f"{x:.{_DIGITS}g}") for x in row] for row in draws]})
    return summary


def load_posterior(path: str | Path) -> WeightPosterior:
    """Read a posterior that `save_posterior` wrote; it can decide and suggest, but explains nothing.

    Raises:
        InputError: The file does not hold the weights of one person.
    """
    found = read_json(path)
    if not is_object(found) or not is_object(found.get("weights")) or not is_list(found.get("draws")):
        raise InputError(
            "expected the weights.json of one person, which `pluralign ask` and `weights` write", path=path
        )
    names = tuple(found["weights"])
    scales = found.get("scales")
    draws = _draws(found["draws"], len(names), path)
    if not is_object(scales) or set(scales) != set(names) or not all(map(_is_scale, scales.values())):
        raise InputError("expected a scale of each objective, above 0", path=path, field="scales")
    lapse, answers = found.get("lapse", 0.0), found.get("answers", 0)
    if type(answers) is not int or not (_is_number(lapse) and 0 <= lapse < 1):
        raise InputError("expected a number of answers and a lapse below 1", path=path)
    count = len(draws)
    return WeightPosterior(
        names, {name: float(scales[name]) for name in names}, draws, None, np.full(count, 1.0 / count),
        _density(draws), 0.0, float(count), SimplexPrior(), float(lapse),
        answers, None,
    )  # fmt: skip


def load_implied_dial(path: str | Path) -> SteeringWeights:
    """Read the mixture that acts by the weights in a file (`elicit.calibration`), which the file has, too.

    Raises:
        InputError: The file has none.
    """
    found = read_json(path)
    dial = found.get("dial") if is_object(found) else None
    if not is_object(dial):
        raise InputError(
            "has no dial; `pluralign ask --story ... --values returns` writes one", path=path, field="dial"
        )
    try:
        return SteeringWeights(dial)
    except InputError as error:
        raise InputError(error.message, path=path, field="dial") from error


def _even_draws(posterior: WeightPosterior, count: int) -> FloatArray:
    """Draws of decisiveness x weights with equal probabilities, evenly spaced along a path through the
    weights, so that their means and intervals are close to those of all draws."""
    path = _path(posterior.weights, np.arange(len(posterior.weights)), 0, count)
    places = (np.arange(count) + 0.5) / count
    index = np.searchsorted(np.cumsum(posterior.shares[path]), places).clip(max=len(path) - 1)
    return posterior.theta[path[index]]


def _path(weights: FloatArray, rows: IntArray, objective: int, count: int) -> IntArray:
    """These rows in an order in which neighbours have similar weights: forth and back by one objective
    within each part by the one before."""
    left = weights.shape[1] - 1 - objective
    order = rows[np.argsort(weights[rows, objective], kind="stable")]
    if left <= 1:
        return order
    parts = max(1, round(count ** (1 / left)))
    found = [
        _path(weights, part, objective + 1, max(1, count // parts)) for part in np.array_split(order, parts)
    ]
    return np.concatenate([part[:: -1 if number % 2 else 1] for number, part in enumerate(found)])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_scale(value: Any) -> bool:
    return _is_number(value) and value > 0


def _draws(rows: Sequence[Any], objectives: int, path: str | Path) -> FloatArray:
    try:
        draws = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("expected rows of numbers", path=path, field="draws") from error
    if draws.ndim != 2 or draws.shape[1] != objectives or len(draws) < 2 or not _positive(draws):
        raise InputError(
            f"expected rows of {objectives} numbers above 0, found {draws.shape}", path=path, field="draws"
        )
    return draws


def _positive(draws: FloatArray) -> bool:
    return bool((draws > 0).all() and np.isfinite(draws).all())


def _density(draws: FloatArray) -> FloatArray:
    """Minus the squared distance from the mean of log theta, which orders draws as a normal density does."""
    logs = np.log(draws)
    apart = logs - logs.mean(axis=0)
    inverse: FloatArray = cast("Any", np).linalg.pinv(apart.T @ apart / len(apart))
    return -np.einsum("di,ij,dj->d", apart, inverse, apart)
