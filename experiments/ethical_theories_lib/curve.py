"""Violations over the judge's accuracy: a curve from planted errors, and the place of the raters' agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.statistics import CONFIDENCE

PLANTED = "planted "
DEGREE = 2


@dataclass(frozen=True)
class Curve:
    """A polynomial of least squares, with the interval in which one more agent is expected.

    Args:
        coefficients: Coefficients, of the highest power first.
        spread: Standard deviation of agents about the curve.
        inverse: Inverse of the matrix of normal equations.
        freedom: Degrees of freedom.
    """

    coefficients: FloatArray
    spread: float
    inverse: FloatArray
    freedom: int

    def predict(self, accuracy: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean and ends of the 95 % prediction interval of one agent, for each accuracy."""
        powers = np.vander(accuracy, DEGREE + 1)
        mean = powers @ self.coefficients
        error = self.spread * np.sqrt(1 + np.einsum("ij,jk,ik->i", powers, self.inverse, powers))
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * error
        return mean, mean - half, mean + half


def fit_curve(rows: Sequence[Mapping[str, Any]]) -> Curve:
    """The curve of a story's agents from planted errors, all numbers of episodes together.

    Labels without errors are left out: no rater is near them, and agents from them do not differ.
    """
    planted = [row for row in rows if row["rater"].startswith(PLANTED) and row["rater"] != f"{PLANTED}100%"]
    x = np.array([row["accuracy"] for row in planted])
    y = np.array([row["violations"] / row["random"] for row in planted])
    powers = np.vander(x, DEGREE + 1)
    inverse = np.linalg.inv(powers.T @ powers)
    coefficients = inverse @ powers.T @ y
    freedom = len(planted) - DEGREE - 1
    return Curve(
        coefficients, float(np.sqrt(((y - powers @ coefficients) ** 2).sum() / freedom)), inverse, freedom
    )


def places(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Each rater's agents relative to the curve of their story: accuracy, violations as a share of random
    play's, distance from the curve, and how many lie in the interval, above and below it."""
    curve = fit_curve(rows)
    found: dict[str, dict[str, float | int]] = {}
    for rater in dict.fromkeys(row["rater"] for row in rows if not row["rater"].startswith(PLANTED)):
        own = [row for row in rows if row["rater"] == rater]
        x = np.array([row["accuracy"] for row in own])
        y = np.array([row["violations"] / row["random"] for row in own])
        mean, low, high = curve.predict(x)
        found[rater] = {
            "accuracy": float(x.mean()), "share": float(y.mean()), "expected": float(mean.mean()),
            "agents": len(own), "inside": int(((low <= y) & (y <= high)).sum()),
            "above": int((y > high).sum()), "below": int((y < low).sum()),
        }  # fmt: skip
    return found
