"""Linear Bradley-Terry rewards on frozen features."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray

# SciPy has no type annotations.
_optimize: Any = importlib.import_module("scipy.optimize")

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Strengths of the L2 penalty, on standardised features."""


@dataclass(frozen=True, eq=False)
class LinearReward:
    """A linear reward.

    Args:
        weights: Weights of the features, shape (d,).
        level: Reward of features of zero.
        penalty: Penalty that was chosen.
    """

    weights: FloatArray
    level: float
    penalty: float

    def __call__(self, features: FloatArray) -> FloatArray:
        """Rewards of answers, shape (...), from features of shape (..., d)."""
        return features @ self.weights + self.level

    def accuracy(self, pairs: FloatArray) -> float:
        """Share of pairs, shape (pairs, 2, d), whose chosen answer has the higher reward."""
        own = self(pairs)
        return float((own[:, 0] > own[:, 1]).mean())


def fit_reward(
    pairs: FloatArray, held_out: FloatArray, penalties: Sequence[float] = PENALTIES
) -> LinearReward:
    """Bradley-Terry regression (logistic loss of the difference) with an L2 penalty.

    The reward has mean 0 and deviation 1 over the answers of the training pairs.

    Args:
        pairs: Features of chosen and rejected answers, shape (pairs, 2, d).
        held_out: Further pairs; the penalty with the lowest loss on them is used.
        penalties: Strengths of the penalty to choose from.
    """
    spread = np.maximum(pairs.std(axis=(0, 1)), 1e-6)
    scaled, judged = (_differences(one) / spread for one in (pairs, held_out))
    fitted = [(penalty, _descend(scaled, penalty)) for penalty in penalties]
    penalty, weights = min(fitted, key=lambda one: _loss(judged, one[1]))
    own = pairs @ (weights / spread)
    deviation = max(float(own.std()), 1e-12)
    return LinearReward(weights / spread / deviation, -float(own.mean()) / deviation, penalty)


def _differences(pairs: FloatArray) -> FloatArray:
    return pairs[:, 0] - pairs[:, 1]


def _loss(differences: FloatArray, weights: FloatArray) -> float:
    return float(np.logaddexp(0.0, -differences @ weights).mean())


def _descend(differences: FloatArray, penalty: float) -> FloatArray:
    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        margins = differences @ weights
        wrong = np.exp(-np.logaddexp(0.0, margins))
        gradient = penalty * weights - differences.T @ wrong / len(differences)
        return float(np.logaddexp(0.0, -margins).mean() + penalty / 2 * weights @ weights), gradient

    start = np.zeros(differences.shape[1])
    found = _optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x)
