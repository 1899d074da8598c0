"""Universal kriging on the simplex: a quadratic trend, and a Gaussian process for its residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray

Link = Literal["identity", "logistic", "softplus"]
"""Function that is applied to the quadratic: ``logistic`` for outcomes in (0, 1), ``softplus`` for positive
ones."""

# Edge of (0, 1), or of positive outcomes, at which a link's inverse is cut off.
_EDGE = 1e-6
# Candidates for the correlation length of the quadratic's residuals, and for the share of noise in them.
_LENGTHS = (0.15, 0.25, 0.4, 0.6, 1.0, 2.0)
_NOISES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, eq=False)
class Part:
    """Prediction of one outcome: a quadratic, and a Gaussian process for its residuals.

    Args:
        coefficients: Coefficients of the quadratic form, shape (terms,).
        residual: Weights of the correlations with evaluated points, shape (points,).
        length: Correlation length.
    """

    coefficients: FloatArray
    residual: FloatArray
    length: float


def fitted_parts(weightings: FloatArray, outcomes: FloatArray, link: Link) -> tuple[Part, ...]:
    """Fit each outcome.

    Args:
        weightings: Evaluated weights, shape (points, objectives); they determine a quadratic.
        outcomes: Their outcomes, shape (points, outcomes).
        link: Function that is applied to predictions.

    Raises:
        InputError: An outcome is out of the link's range.
    """
    goals = _inverse(outcomes, link)
    return tuple(_part(weightings, goals[:, column]) for column in range(goals.shape[1]))


def _part(weightings: FloatArray, goal: FloatArray) -> Part:
    """The correlation length and noise of the highest restricted likelihood, and their fit of one outcome."""
    terms = quadratic_terms(weightings)
    coefficients = np.asarray(np.linalg.lstsq(terms, goal, rcond=None)[0], np.float64)
    best = Part(coefficients, np.zeros(len(goal)), 1.0)
    spare = len(goal) - np.linalg.matrix_rank(terms)
    left = goal - terms @ coefficients
    if spare <= 0 or np.abs(left).max() <= 1e-9 * max(1.0, float(np.abs(goal).max())):
        return best
    highest = -np.inf
    for length in _LENGTHS:
        correlated = _correlations(weightings, weightings, length)
        for noise in _NOISES:
            covariance = correlated + noise * np.eye(len(goal))
            root = np.linalg.cholesky(covariance)
            scaled = np.linalg.solve(root, terms)
            best_fit = np.linalg.lstsq(scaled, np.linalg.solve(root, goal), rcond=None)[0]
            fitted = np.asarray(best_fit, np.float64)
            rest = goal - terms @ fitted
            inverse = np.asarray(np.linalg.solve(covariance, rest), np.float64)
            corner = np.abs(np.diag(np.linalg.qr(scaled)[1]))
            likelihood = -0.5 * spare * np.log(rest @ inverse) - np.log(np.diag(root)).sum()
            likelihood -= np.log(corner[corner > 1e-12]).sum()
            if likelihood > highest:
                highest, best = likelihood, Part(fitted, inverse, length)
    return best


def predicted(parts: Sequence[Part], seen: FloatArray, weightings: FloatArray, link: Link) -> FloatArray:
    """Predicted outcomes, shape (weightings, outcomes).

    Args:
        parts: Fit of each outcome.
        seen: Evaluated weights, shape (points, objectives).
        weightings: Weights to predict for, shape (weightings, objectives).
        link: Function that is applied to predictions.
    """
    terms = quadratic_terms(weightings)
    columns = [
        terms @ part.coefficients + _correlations(weightings, seen, part.length) @ part.residual
        if part.residual.any()
        else terms @ part.coefficients
        for part in parts
    ]
    return _linked(np.stack(columns, axis=1), link)


def _correlations(left: FloatArray, right: FloatArray, length: float) -> FloatArray:
    """Matérn correlations with smoothness 5/2, shape (left, right)."""
    apart = np.sqrt(5.0) * np.sqrt(((left[:, None] - right[None]) ** 2).sum(axis=2)) / length
    return (1.0 + apart + apart**2 / 3.0) * np.exp(-apart)


def _linked(values: FloatArray, link: Link) -> FloatArray:
    if link == "identity":
        return values
    if link == "logistic":
        return 1.0 / (1.0 + np.exp(-values))
    return np.logaddexp(0.0, values)


def _inverse(outcomes: FloatArray, link: Link) -> FloatArray:
    if link == "identity":
        return outcomes
    if link == "logistic":
        if outcomes.min() < 0 or outcomes.max() > 1:
            raise InputError("must be from 0 to 1 with the logistic link", field="outcomes")
        inside = np.clip(outcomes, _EDGE, 1 - _EDGE)
        return np.log(inside) - np.log1p(-inside)
    if outcomes.min() < 0:
        raise InputError("must not be negative with the softplus link", field="outcomes")
    inside = np.maximum(outcomes, _EDGE)
    return inside + np.log(-np.expm1(-inside))


def quadratic_terms(weightings: FloatArray) -> FloatArray:
    """Products w_i w_j, i <= j, shape (weightings, terms)."""
    pairs = list(combinations_with_replacement(range(weightings.shape[1]), 2))
    return np.stack([weightings[:, i] * weightings[:, j] for i, j in pairs], axis=1)
