"""Weights of several losses' gradients on shared parameters: directions that no loss opposes.

Objectives that share parameters may want them to move in opposite directions. A direction d with d . g_i >= 0
for every gradient g_i raises none of the losses, to first order, when the parameters move along -d.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray


def min_norm_weights(gradients: FloatArray) -> FloatArray:
    """Weights of the shortest vector in the convex hull of gradients (MGDA; Desideri 2012, Sener and Koltun
    2018, arXiv 1810.04650).

    For this vector d = sum_i alpha_i g_i, d . g_i >= ||d||^2 for every i, with equality where alpha_i > 0. It
    is 0 where no direction lowers all losses. Of several solutions one is returned; d is unique.

    Args:
        gradients: Gradient of each loss, shape (losses, parameters).

    Returns:
        Non-negative weights that sum to one, shape (losses,).

    Raises:
        InputError: There is no gradient, or a number is not finite.

    Examples:
        >>> import numpy as np
        >>> from pluralign.losses.pareto import min_norm_weights
        >>> min_norm_weights(np.array([[1.0, 0.0], [0.0, 2.0]])).round(3).tolist()
        [0.8, 0.2]
    """
    rows = _checked(gradients)
    if len(rows) == 1:
        return np.ones(1)
    # Rotations do not change lengths: with R of G^T = QR, gradients have as many numbers as there are losses.
    # (Their Gram matrix would square the condition.)
    small = np.linalg.qr(rows.T)[1].T
    unit = float(np.linalg.norm(small, axis=1).max())
    if unit == 0.0:
        return np.full(len(rows), 1.0 / len(rows))
    if len(rows) == 2:
        return _of_two(small / unit)
    # The shortest vector of a hull as non-negative least squares (Lawson and Hanson 1974, problem LDP): where
    # u minimises ||G^T u||^2 + (sum u - 1)^2 over u >= 0, the weights are u / sum u.
    nnls: Any = importlib.import_module("scipy.optimize").nnls
    system = np.vstack([small.T / unit, np.ones(len(rows))])
    found: FloatArray = nnls(system, np.append(np.zeros(small.shape[1]), 1.0))[0]
    return found / found.sum()


def guided_weights(gradients: FloatArray, target: FloatArray, *, improves: bool = True) -> FloatArray:
    """Weights of gradients that follow another gradient as far as the losses allow (ParetoDA; Lv et al.
    2021).

    A linear programme over the simplex, with C = G G^T, whose C alpha says how fast each loss falls, and c =
    G target. If the target ``improves``, alpha . c is largest where the loss that agrees most with the target
    does not rise, others that agree (c_i > 0) are free, and those that disagree rise no faster than along the
    target itself; if none agrees, none may rise. Otherwise all losses fall, together as fast as they can, and
    the target rises no more than it must. Where the programme has no solution, the weights are those of
    `min_norm_weights` (the published code then silently takes weights of 1 each).

    Args:
        gradients: Gradient of each loss, shape (losses, parameters).
        target: Gradient of the loss to follow, such as that of held-out data, shape (parameters,).
        improves: Whether to follow the target first; else all losses fall first.

    Returns:
        Non-negative weights that sum to one, shape (losses,).

    Raises:
        InputError: There is no gradient, the numbers of parameters differ, or a number is not finite.
    """
    rows = _checked(gradients)
    goal = np.asarray(target, float)
    if goal.shape != rows.shape[1:] or not np.isfinite(goal).all():
        raise InputError(f"expected {rows.shape[1]} finite numbers, found shape {goal.shape}", field="target")
    gram, along = rows @ rows.T, rows @ goal
    low = np.zeros(len(rows))
    if improves:
        if (along > 0).any():
            low = np.where(along > 0, -np.inf, along)
            low[int(along.argmax())] = 0.0
        found = _programme(along, gram, low)
    else:
        extra = np.append(low, min(float(along.max()), 0.0))
        found = _programme(gram.sum(axis=0), np.vstack([gram, along]), extra)
    return min_norm_weights(rows) if found is None else found


def _programme(gain: FloatArray, system: FloatArray, low: FloatArray) -> FloatArray | None:
    """Weights of the simplex with the largest gain . alpha where system @ alpha >= low, if there are any."""
    linprog: Any = importlib.import_module("scipy.optimize").linprog
    bound = np.isfinite(low)
    # To one scale, since the solver's tolerance is absolute.
    unit = float(np.abs(system).max()) or 1.0
    found = linprog(
        -gain / (float(np.abs(gain).max()) or 1.0), A_ub=-system[bound] / unit, b_ub=-low[bound] / unit,
        A_eq=np.ones((1, len(gain))), b_eq=[1.0], bounds=(0, 1), method="highs",
    )  # fmt: skip
    if not found.success:
        return None
    weights = np.clip(np.asarray(found.x, float), 0.0, None)
    return weights / weights.sum()


def _of_two(rows: FloatArray) -> FloatArray:
    gap = rows[1] - rows[0]
    length = float(gap @ gap)
    share = 0.5 if length == 0.0 else min(1.0, max(0.0, float(gap @ rows[1]) / length))
    return np.array([share, 1.0 - share])


def _checked(gradients: FloatArray) -> FloatArray:
    rows = np.asarray(gradients, float)
    if rows.ndim != 2 or not rows.size:
        raise InputError(
            f"expected an array of (losses, parameters), found shape {rows.shape}", field="gradients"
        )
    if not np.isfinite(rows).all():
        raise InputError("a number is not finite", field="gradients")
    return rows
