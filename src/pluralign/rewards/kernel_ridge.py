"""Kernel ridge regression with a penalty chosen by leave-one-out errors in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray

PENALTIES = tuple(float(one) for one in np.logspace(4, -6, 41))
"""Candidates for the penalty, in units of the kernel's value at distance 0; the first is next to the mean."""
_SPREAD = 1e-6


@dataclass(frozen=True, eq=False)
class KernelRidge:
    """v(x) = r_mean + k(x, X) (K + lambda I)^-1 (r - r_mean), with the kernel centred on the rows.

    k is exp(-|x - y|^2 / (2 l^2)) of standardised features; l^2 is the median squared distance of the rows.
    With a centred kernel the intercept is not penalised, and leaving a row out has a closed form.

    Args:
        rows: Standardised features of the rows, shape (rows, d).
        centre: Mean of the features.
        spread: Standard deviation of the features.
        length: Squared length l^2 of the kernel.
        weights: Weights of the rows, which sum to 0.
        level: Prediction without any weights.
        penalty: Penalty lambda.
        errors: Target of each row minus its prediction from the other rows.
    """

    rows: FloatArray
    centre: FloatArray
    spread: FloatArray
    length: float
    weights: FloatArray
    level: float
    penalty: float
    errors: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Predictions, shape (n,), from features of shape (n, d)."""
        scaled = (features - self.centre) / self.spread
        return self.level + _kernel(scaled, self.rows, self.length) @ self.weights


def fit_kernel_ridge(features: FloatArray, targets: FloatArray, penalty: float | None = None) -> KernelRidge:
    """Fit targets by features.

    Args:
        features: Features of the rows, shape (rows, d).
        targets: Number to predict of each row, shape (rows,).
        penalty: Penalty lambda, above 0; by default the one of `PENALTIES` with the least squared error on
            rows that are left out, the larger one of equals.

    Raises:
        InputError: There are fewer than three rows, or the penalty is not above 0.
    """
    if len(features) < 3:
        raise InputError(f"expected three or more, found {len(features)}", field="rows")
    if penalty is not None and not penalty > 0:
        raise InputError(f"must be above 0, found {penalty}", field="penalty")
    centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), _SPREAD)
    rows = (features - centre) / spread
    apart = _distances(rows, rows)[np.triu_indices(len(rows), 1)]
    length = float(np.median(apart)) or 1.0
    kernel = _kernel(rows, rows, length)
    means = kernel.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel - means - means[:, None] + means.mean())
    # Rounding leaves the constant vector, whose value is 0, anywhere among small ones.
    vectors = vectors - vectors.mean(axis=0)
    shares = vectors.T @ (targets - targets.mean())

    def solved(own: float) -> tuple[FloatArray, FloatArray]:
        """Weights of the rows, and errors on rows that are left out: weight over the inverse's diagonal."""
        inverse = 1 / (np.maximum(values, 0.0) + own)
        weights = vectors @ (inverse * shares)
        return weights, weights / (vectors**2 @ inverse)

    tried = [(float((solved(own)[1] ** 2).mean()), own) for own in PENALTIES] if penalty is None else []
    chosen = penalty or min(tried, key=lambda one: (one[0], -one[1]))[1]
    weights, errors = solved(chosen)
    return KernelRidge(
        rows, centre, spread, length, weights, float(targets.mean() - means @ weights), chosen, errors
    )


def _kernel(left: FloatArray, right: FloatArray, length: float) -> FloatArray:
    return np.exp(-_distances(left, right) / (2 * length))


def _distances(left: FloatArray, right: FloatArray) -> FloatArray:
    """Squared distances, shape (left, right); exactly 0 between equal rows."""
    found = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    return np.where(found > 1e-10 * left.shape[1], found, 0.0)
