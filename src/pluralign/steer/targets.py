"""Targets instead of weights, "harmless at least at this level": the multi-human-value palette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, SteeringWeights

FloatArray = npt.NDArray[np.float64]
_TOLERANCE = 1e-6
# SciPy comes without types.
_optimize: Any = import_module("scipy.optimize")
_special: Any = import_module("scipy.special")


@dataclass(frozen=True)
class Palette:
    """What meets a target, or that nothing does.

    Args:
        reachable: whether some distribution over the samples meets all targets.
        multipliers: lambda of each objective; the policy that meets the targets with the least divergence
            from the one that was sampled is proportional to pi_0(y) exp(sum_k lambda_k r_k(y)). Empty where
            the target cannot be reached.
        weights: the multipliers on the simplex, the steering weights; None where no steering is needed (the
            sampled policy meets the targets already), or where none suffices.
        strength: sum of the multipliers, 1 / beta of the tilted policy.
        expected: mean reward of each objective under that policy (where the target cannot be reached: under
            the distribution that misses it least).
        shortfall: by how much the target that is missed most is missed at the least, in units of each
            objective's standard deviation; 0 where it can be reached.
    """

    reachable: bool
    multipliers: Mapping[str, float]
    weights: SteeringWeights | None
    strength: float
    expected: Mapping[str, float]
    shortfall: float


def meet_targets(
    rewards: Mapping[str, Sequence[float] | FloatArray], targets: Mapping[str, float]
) -> Palette:
    """The mixture of objectives that meets targets on their mean rewards, staying as near as it can.

    Minimises KL(pi || pi_0) subject to E_pi[r_k] >= c_k (Wang et al. 2024): the dual is max over lambda >= 0
    of -log E_0 exp(lambda . r) + lambda . c, concave and solved from samples of pi_0 (logsumexp throughout).
    Whether the targets can be reached at all is a linear programme over the samples, solved first: where they
    cannot, the dual has no maximum.

    Args:
        rewards: of the same samples of pi_0, by objective, shape (samples,) each.
        targets: the least mean reward, by objective; those that are not named are free.

    Raises:
        InputError: an unknown objective, no target, no samples, different numbers of them, or what is not a
            number.
    """
    names, table, wanted = _checked(rewards, targets)
    deviation = np.where(table.std(axis=0) > 0, table.std(axis=0), 1.0)
    # In units of each objective's own spread, so that one tolerance serves all.
    scaled, goal = table / deviation, wanted / deviation
    missed, nearest = _least_shortfall(scaled, goal)
    if missed > _TOLERANCE:
        expected = dict(zip(names, (nearest @ table).tolist(), strict=True))
        return Palette(False, {}, None, 0.0, expected, missed)
    solved = _dual(scaled, goal)
    tilted = np.asarray(_special.softmax(scaled @ solved))
    multipliers = np.where(solved > _TOLERANCE, solved, 0.0) / deviation
    total = float(multipliers.sum())
    found = dict(zip(names, multipliers.tolist(), strict=True))
    weights = SteeringWeights({name: value / total for name, value in found.items()}) if total else None
    return Palette(True, found, weights, total, dict(zip(names, (tilted @ table).tolist(), strict=True)), 0.0)


def _checked(
    rewards: Mapping[str, Sequence[float] | FloatArray], targets: Mapping[str, float]
) -> tuple[list[str], FloatArray, FloatArray]:
    unknown = sorted(set(targets) - set(rewards))
    if unknown or not targets:
        raise InputError(
            f"expected targets on {', '.join(rewards)}, found {', '.join(unknown) or 'none'}", field="targets"
        )
    columns = {name: np.asarray(rewards[name], dtype=np.float64) for name in targets}
    sizes = {values.shape for values in columns.values()}
    if len(sizes) != 1 or sizes == {(0,)} or any(len(size) != 1 for size in sizes):
        raise InputError(f"expected as many samples of each objective, found shapes {sorted(sizes)}")
    table = np.stack(list(columns.values()), axis=1)
    wanted = np.array([float(value) for value in targets.values()])
    if not np.isfinite(table).all() or not np.isfinite(wanted).all():
        raise InputError("rewards and targets must be finite numbers")
    return list(columns), table, wanted


def _least_shortfall(table: FloatArray, goal: FloatArray) -> tuple[float, FloatArray]:
    """The smallest t such that some distribution over the samples has all means above goal - t, and it."""
    samples = len(table)
    # Variables: the samples' probabilities, and t.
    answer = _optimize.linprog(
        np.append(np.zeros(samples), 1.0),
        A_ub=np.hstack([-table.T, -np.ones((table.shape[1], 1))]), b_ub=-goal,
        A_eq=np.append(np.ones(samples), 0.0)[None], b_eq=[1.0],
        bounds=[(0, None)] * samples + [(0, None)], method="highs",
    )  # fmt: skip
    return float(answer.x[-1]), answer.x[:-1]


def _dual(table: FloatArray, goal: FloatArray) -> FloatArray:
    """lambda that maximises the dual, from the origin."""
    gaps = table - goal

    def loss(multipliers: FloatArray) -> tuple[float, FloatArray]:
        scores = gaps @ multipliers
        return float(_special.logsumexp(scores)) - np.log(len(gaps)), np.asarray(
            _special.softmax(scores)
        ) @ gaps

    bounds = [(0, 1e4)] * len(goal)
    answer = _optimize.minimize(
        loss, np.zeros(len(goal)), jac=True, bounds=bounds, method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000},
    )  # fmt: skip
    return np.asarray(answer.x)
