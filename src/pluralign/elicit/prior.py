"""Priors of weights and decisiveness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray

DECISIVENESS = 4.0
"""Decisiveness that priors expect: weights times values in units of their deviations."""


class WeightPrior(Protocol):
    """Density over coordinates x without bounds, and their map to theta = decisiveness x weights."""

    def start(self, objectives: int) -> FloatArray:
        """Coordinates at which the search for the posterior's maximum begins, shape (coordinates,)."""
        ...

    def theta(self, coordinates: FloatArray, objectives: int) -> FloatArray:
        """Decisiveness times weights, shape (draws, objectives), of coordinates (draws, coordinates)."""
        ...

    def jacobian(self, coordinates: FloatArray, objectives: int) -> FloatArray:
        """Derivatives of theta, shape (objectives, coordinates), at coordinates of shape (coordinates,)."""
        ...

    def log_density(self, coordinates: FloatArray) -> FloatArray:
        """Normalised log-density, shape (draws,), of coordinates (draws, coordinates)."""
        ...

    def gradient(self, coordinates: FloatArray) -> FloatArray:
        """Gradient of the log-density, shape (coordinates,), at coordinates of shape (coordinates,)."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        ...


@dataclass(frozen=True)
class LogNormalPrior:
    """Independent log-normal distributions of theta_k = decisiveness x weight of objective k.

    Args:
        mean: Mean of log theta_k, by objective; None is log(4 / objectives) for each.
        deviation: Standard deviation of log theta_k, by objective; None is 1 for each.

    Raises:
        InputError: Numbers are not finite, or deviations are not above 0.
    """

    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("mean", "deviation"):
            for number in getattr(self, field) or ():
                if not math.isfinite(number) or (field == "deviation" and number <= 0):
                    raise InputError(f"found {number}", field=f"prior.{field}")

    def _moments(self, objectives: int) -> tuple[FloatArray, FloatArray]:
        mean = self.mean or (math.log(DECISIVENESS / objectives),) * objectives
        deviation = self.deviation or (1.0,) * objectives
        if len(mean) != objectives or len(deviation) != objectives:
            raise InputError(f"has {len(mean)} objectives, the choices have {objectives}", field="prior")
        return np.array(mean), np.array(deviation)

    def start(self, objectives: int) -> FloatArray:
        """See `WeightPrior.start`."""
        return self._moments(objectives)[0]

    def theta(self, coordinates: FloatArray, objectives: int) -> FloatArray:
        """See `WeightPrior.theta`."""
        return np.exp(coordinates)

    def jacobian(self, coordinates: FloatArray, objectives: int) -> FloatArray:
        """See `WeightPrior.jacobian`."""
        return np.diag(np.exp(coordinates))

    def log_density(self, coordinates: FloatArray) -> FloatArray:
        """See `WeightPrior.log_density`."""
        mean, deviation = self._moments(coordinates.shape[-1])
        z = (coordinates - mean) / deviation
        return -0.5 * (z**2).sum(axis=-1) - np.log(deviation).sum() - 0.5 * len(mean) * math.log(2 * math.pi)

    def gradient(self, coordinates: FloatArray) -> FloatArray:
        """See `WeightPrior.gradient`."""
        mean, deviation = self._moments(len(coordinates))
        return -(coordinates - mean) / deviation**2

    def to_json(self) -> dict[str, Any]:
        """See `WeightPrior.to_json`."""
        return {"kind": "log-normal", "mean": self.mean, "deviation": self.deviation}


@dataclass(frozen=True)
class SimplexPrior:
    """Weights uniform on the simplex (Dirichlet(1, ..., 1)), and a log-normal decisiveness.

    Coordinates are log(w_k / w_K) for all objectives but the last, and log decisiveness.

    Args:
        decisiveness: Median of the decisiveness.
        deviation: Standard deviation of log decisiveness; 0 fixes it. Policies that mix by ``SteeredPolicy``
            act with decisiveness 1 on their log-probabilities.

    Raises:
        InputError: The decisiveness is not above 0, or the deviation is negative.
    """

    decisiveness: float = DECISIVENESS
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.decisiveness < math.inf:
            raise InputError(
                f"must be above 0 and finite, found {self.decisiveness}", field="prior.decisiveness"
            )
        if not 0 <= self.deviation < math.inf:
            raise InputError(
                f"must be at least 0 and finite, found {self.deviation}", field="prior.deviation"
            )

    def _parts(self, coordinates: FloatArray, objectives: int) -> tuple[FloatArray, FloatArray]:
        """Weights (draws, objectives), and log decisiveness (draws, 1)."""
        ratios = coordinates[:, : objectives - 1]
        logits = np.concatenate([ratios, np.zeros((len(coordinates), 1))], axis=1)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        fixed = np.full((len(coordinates), 1), math.log(self.decisiveness))
        return weights, coordinates[:, objectives - 1 :] if self.deviation else fixed

    def start(self, objectives: int) -> FloatArray:
        """See `WeightPrior.start`."""
        ratios = np.zeros(objectives - 1)
        return np.append(ratios, math.log(self.decisiveness)) if self.deviation else ratios

    def theta(self, coordinates: FloatArray, objectives: int) -> FloatArray:
        """See `WeightPrior.theta`."""
        weights, log_decisiveness = self._parts(coordinates, objectives)
        return weights * np.exp(log_decisiveness)

    def jacobian(self, coordinates: FloatArray, objectives: int) -> FloatArray:
        """See `WeightPrior.jacobian`."""
        weights, log_decisiveness = self._parts(coordinates[None], objectives)
        w, b = weights[0], math.exp(log_decisiveness[0, 0])
        columns = b * (np.diag(w) - np.outer(w, w))[:, : objectives - 1]
        return np.column_stack([columns, b * w]) if self.deviation else columns

    def _objectives(self, coordinates: FloatArray) -> int:
        return coordinates.shape[-1] + (not self.deviation)

    def log_density(self, coordinates: FloatArray) -> FloatArray:
        """See `WeightPrior.log_density`."""
        objectives = self._objectives(coordinates)
        weights, log_decisiveness = self._parts(coordinates, objectives)
        # (K - 1)! on the simplex; the Jacobian of the log-ratios is the product of all weights.
        with np.errstate(divide="ignore"):
            density = math.lgamma(objectives) + np.log(weights).sum(axis=1)
        if not self.deviation:
            return density
        z = (log_decisiveness[:, 0] - math.log(self.decisiveness)) / self.deviation
        return density - 0.5 * z**2 - math.log(self.deviation) - 0.5 * math.log(2 * math.pi)

    def gradient(self, coordinates: FloatArray) -> FloatArray:
        """See `WeightPrior.gradient`."""
        objectives = self._objectives(coordinates)
        weights, log_decisiveness = self._parts(coordinates[None], objectives)
        ratios = 1.0 - objectives * weights[0, :-1]
        if not self.deviation:
            return ratios
        z = (log_decisiveness[0, 0] - math.log(self.decisiveness)) / self.deviation**2
        return np.append(ratios, -z)

    def to_json(self) -> dict[str, Any]:
        """See `WeightPrior.to_json`."""
        return {"kind": "simplex", "decisiveness": self.decisiveness, "deviation": self.deviation}
