"""Draws from the posterior of weights: a Student t proposal at its maximum, weighted by importance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.elicit.choice_data import ChoiceData
from pluralign.elicit.prior import WeightPrior
from pluralign.losses.choice import choice_derivatives, choice_log_likelihood

_FREEDOM = 5
# Eigenvalues of the proposal's precision are not below this, so that flat directions are not left at once.
_LEAST_PRECISION = 0.1
# Number of times that draws are repeated, and the factor of their covariance.
_MOST_REPEATS = 4
_WIDER = 1.5
# Draws x rows x options held at once.
_AT_ONCE = 4_000_000
# "About the same": log nu is Normal around log 1/2 with deviation 1.
_TIE_MEAN = math.log(0.5)


@dataclass(frozen=True, eq=False)
class Target:
    """Unnormalised posterior density over coordinates: the prior's, and log nu if ties are offered."""

    data: ChoiceData | None
    prior: WeightPrior
    objectives: int
    lapse: float

    @property
    def ties(self) -> bool:
        """Whether log nu is the last coordinate."""
        return self.data is not None and self.data.ties

    def _split(self, coordinates: FloatArray) -> tuple[FloatArray, FloatArray]:
        return (
            (coordinates[..., :-1], coordinates[..., -1:])
            if self.ties
            else (coordinates, coordinates[..., :0])
        )

    def start(self) -> FloatArray:
        """Coordinates at which the search begins."""
        own = self.prior.start(self.objectives)
        return np.append(own, _TIE_MEAN) if self.ties else own

    def parameters(self, coordinates: FloatArray) -> FloatArray:
        """Parameters of the utility, shape (draws, parameters)."""
        own, tie = self._split(coordinates)
        return np.concatenate([self.prior.theta(own, self.objectives), tie], axis=1)

    def log_density(self, coordinates: FloatArray) -> FloatArray:
        """Log of likelihood times prior, shape (draws,)."""
        own, tie = self._split(coordinates)
        total = self.prior.log_density(own)
        if self.ties:
            total = total - 0.5 * (tie[:, 0] - _TIE_MEAN) ** 2 - 0.5 * math.log(2 * math.pi)
        return total + self.log_likelihood(coordinates)

    def log_likelihood(self, coordinates: FloatArray) -> FloatArray:
        """Log-likelihood of all choices, shape (draws,)."""
        total = np.zeros(len(coordinates))
        if self.data is None:
            return total
        data, theta = self.data, self.parameters(coordinates)
        step = max(1, _AT_ONCE // (len(theta) * data.values.shape[1]))
        for first in range(0, len(data.chosen), step):
            part = slice(first, first + step)
            rows = choice_log_likelihood(
                data.values[part], data.offered[part], data.chosen[part], theta, self.lapse
            )
            total += rows @ data.weights[part]
        return total

    def value_and_gradient(self, coordinates: FloatArray) -> tuple[float, FloatArray]:
        """Negative log-density and its gradient at coordinates of shape (coordinates,)."""
        own, tie = self._split(coordinates)
        value = float(self.prior.log_density(own[None])[0])
        gradient = self.prior.gradient(own)
        if self.ties:
            value -= 0.5 * float(tie[0] - _TIE_MEAN) ** 2
            gradient = np.append(gradient, _TIE_MEAN - tie[0])
        if self.data is not None:
            data, theta = self.data, self.parameters(coordinates[None])[0]
            fit, slope, _ = choice_derivatives(
                data.values, data.offered, data.chosen, data.weights, theta, self.lapse
            )
            value += fit
            gradient[: len(own)] += slope[: self.objectives] @ self.prior.jacobian(own, self.objectives)
            if self.ties:
                gradient[-1] += slope[-1]
        return -value, -gradient


@dataclass(frozen=True, eq=False)
class Draws:
    """Weighted draws; see `WeightPosterior`."""

    coordinates: FloatArray
    shares: FloatArray
    log_posterior: FloatArray
    log_evidence: float
    effective: float


def sample(target: Target, draws: int, seed: int, few: float) -> Draws:
    """Draw from a posterior.

    Args:
        target: Posterior.
        draws: Number of draws.
        seed: Random seed.
        few: Number of effective samples below which the draws are repeated from a proposal with the moments
            of the last ones.
    """
    centre = _maximum(target)
    found = _weighted(target, centre, _covariance(target, centre), draws, seed)
    for repeat in range(1, _MOST_REPEATS + 1):
        if found.effective >= min(few, draws):
            break
        centre = found.shares @ found.coordinates
        apart = found.coordinates - centre
        moments = (found.shares[:, None] * apart).T @ apart
        # Moments of few effective draws are too small.
        shape = _WIDER * moments + 1e-6 * np.eye(len(centre))
        again = _weighted(target, centre, shape, draws, seed + repeat)
        found = max(found, again, key=lambda one: one.effective)
    return found


def _maximum(target: Target) -> FloatArray:
    # scipy has no types, and is slow to import.
    optimize: Any = import_module("scipy.optimize")
    start = target.start()
    found = optimize.minimize(target.value_and_gradient, start, jac=True, method="L-BFGS-B")
    best: FloatArray = found.x if np.isfinite(found.fun) else start
    return best


def _covariance(target: Target, centre: FloatArray) -> FloatArray:
    """Inverse of minus the Hessian, from differences of the gradient."""
    size, step = len(centre), 1e-4
    hessian = np.empty((size, size))
    for index in range(size):
        shift = np.zeros(size)
        shift[index] = step
        _, above = target.value_and_gradient(centre + shift)
        _, below = target.value_and_gradient(centre - shift)
        hessian[index] = (above - below) / (2 * step)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return (vectors / np.maximum(values, _LEAST_PRECISION)) @ vectors.T


def _weighted(target: Target, centre: FloatArray, shape: FloatArray, draws: int, seed: int) -> Draws:
    size = len(centre)
    generator = np.random.default_rng(seed)
    root = np.linalg.cholesky(shape)
    normal = generator.standard_normal((draws, size))
    spread = generator.chisquare(_FREEDOM, size=(draws, 1)) / _FREEDOM
    coordinates = centre + (normal / np.sqrt(spread)) @ root.T
    squares = ((normal**2) / spread).sum(axis=1)
    log_proposal = (
        math.lgamma((_FREEDOM + size) / 2)
        - math.lgamma(_FREEDOM / 2)
        - 0.5 * size * math.log(_FREEDOM * math.pi)
        - np.log(np.diag(root)).sum()
        - 0.5 * (_FREEDOM + size) * np.log1p(squares / _FREEDOM)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        log_posterior = target.log_density(coordinates)
    log_posterior = np.where(np.isfinite(log_posterior), log_posterior, -np.inf)
    log_weights = log_posterior - log_proposal
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    total = weights.sum()
    shares = weights / total
    return Draws(
        coordinates,
        shares,
        log_posterior,
        float(largest + math.log(total / draws)),
        float(1.0 / (shares**2).sum()),
    )
