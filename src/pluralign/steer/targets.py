"""Target levels instead of weights ("harmless at least at this level"): the multi-human-value palette.

With targets that are met exactly, it is the problem of constrained RLHF (Moskovitz et al. 2024, arXiv
2310.04373: xi-PPO) on samples: a reward is raised to the level at which it stops being a good proxy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, SteeringWeights
from pluralign.core.arrays import FloatArray, IntArray, as_floats, varies

_TOLERANCE = 1e-6
# SciPy has no type annotations.
_optimize: Any = import_module("scipy.optimize")
_sparse: Any = import_module("scipy.sparse")


@dataclass(frozen=True)
class Palette:
    """Solution for given targets, or the reason that there is none.

    Args:
        reachable: Whether some distribution over the samples meets all targets.
        multipliers: Multiplier lambda of each objective, 0 for objectives without a target, negative for
            those that have to be lowered. The policy that meets the targets with the least divergence from
            the sampled policy is proportional to pi_0(y) exp(sum_k lambda_k
            r_k(y)). Empty if the targets cannot be met.
        weights: The multipliers normalised to sum to one, as steering weights; None if no steering is needed
            (the sampled policy already meets the targets), if the targets cannot be met, or if an objective
            has to be lowered, which weights cannot say.
        strength: Sum of the multipliers' absolute values; if none is negative, 1 / beta of the tilted policy.
        expected: Mean reward of each objective under that policy (if the targets cannot be met: under the
            distribution that misses them least).
        shortfall: Smallest possible value of the largest distance from a target, in units of each objective's
            standard deviation; 0 if the targets can be met.
        effective_samples: Effective sample size of the expected rewards, 1 / sum of squared probabilities.
    """

    reachable: bool
    multipliers: Mapping[str, float]
    weights: SteeringWeights | None
    strength: float
    expected: Mapping[str, float]
    shortfall: float
    effective_samples: float

    @property
    def lowered(self) -> tuple[str, ...]:
        """Objectives with negative multipliers: their rewards have to be lowered."""
        return tuple(name for name, value in self.multipliers.items() if value < 0)


@dataclass(frozen=True)
class _Prompts:
    """Samples grouped by prompt.

    Args:
        number: Index of each sample's prompt.
        starts: Index of each prompt's first sample.
        share: Share of each prompt among all samples.
    """

    number: IntArray
    starts: IntArray
    share: FloatArray


def meet_targets(
    rewards: Mapping[str, Sequence[float] | FloatArray],
    targets: Mapping[str, float] | None = None,
    prompts: Sequence[int] | IntArray | None = None,
    *,
    at_most: Mapping[str, float] | None = None,
    exactly: Mapping[str, float] | None = None,
) -> Palette:
    """Mixture of objectives that meets targets on mean rewards with the least divergence from the samples'
    policy.

    Minimises KL(pi || pi_0) subject to E_pi[r_k] >= c_k (Wang et al. 2024). The dual is max over lambda >= 0
    of -log E_0 exp(lambda . r) + lambda . c; it is concave and is solved on samples of pi_0 (with logsumexp).
    The multiplier of an upper bound is at most 0, that of an equation has any sign.
    With several prompts, the first term is the mean over prompts of -log E_0[exp(lambda . r) | prompt]: a
    policy chooses between answers, not between prompts. Prompts count in proportion to their samples. A
    linear programme over the samples first decides whether the targets can be met; otherwise the dual has no
    maximum.

    Args:
        rewards: Rewards of the same samples of pi_0, by objective, shape (samples,) each.
        targets: Smallest acceptable mean reward, by objective; objectives without any target are
            unconstrained.
        prompts: Prompt number of each sample; by default all samples answer one prompt.
        at_most: Largest acceptable mean reward, by objective.
        exactly: Required mean reward, by objective; these have no other target.

    Raises:
        InputError: There is an unknown objective, no target, targets that contradict each other, no sample, a
            different number of samples per objective, or a value that is not finite.

    Examples:
        >>> import numpy as np
        >>> import pluralign as pl
        >>> rewards = {"brief": np.array([0.0, 1.0, 0.0, 1.0]), "kind": np.array([1.0, 0.0, 1.0, 0.0])}
        >>> found = pl.meet_targets(rewards, {"kind": 0.6}, np.array([0, 0, 1, 1]))
        >>> found.reachable, round(found.expected["kind"], 3)
        (True, 0.6)
    """
    table = _table(rewards)
    limits = _limits(list(rewards), targets or {}, at_most or {}, exactly or {})
    numbers = np.zeros(len(table), dtype=np.int64) if prompts is None else np.asarray(prompts)
    if numbers.shape != (len(table),):
        raise InputError(f"expected a prompt for each of {len(table)} samples, found {numbers.size}")
    if numbers.dtype.kind not in "iu":
        raise InputError(f"expected whole numbers, found {prompts!r:.60}", field="prompts")
    order = np.argsort(numbers, kind="stable")
    table, asked = table[order], _by_prompt(numbers)
    deviation = np.where(varies(table), table.std(axis=0), 1.0)
    # Rewards are divided by each objective's standard deviation, so that one tolerance fits all.
    bound, sign = limits.objective, limits.sign
    scaled, goal = sign * (table / deviation)[:, bound], sign * limits.level / deviation[bound]
    missed, nearest = _least_shortfall(scaled, goal, limits.equal, asked)
    if missed > _TOLERANCE:
        expected = dict(zip(rewards, (nearest @ table).tolist(), strict=True))
        return Palette(False, {}, None, 0.0, expected, missed, _effective(nearest))
    solved = _dual(scaled, goal, limits.equal, asked)
    _, tilted = _tilt(scaled @ solved, asked)
    solved = np.where(np.abs(solved) > _TOLERANCE, solved, 0.0) * sign / deviation[bound]
    multipliers = np.bincount(bound, solved, minlength=len(rewards))
    total = float(np.abs(multipliers).sum())
    found = dict(zip(rewards, multipliers.tolist(), strict=True))
    weights = None
    if total and not (multipliers < 0).any():
        weights = SteeringWeights({name: value / total for name, value in found.items()})
    expected = dict(zip(rewards, (tilted @ table).tolist(), strict=True))
    return Palette(True, found, weights, total, expected, 0.0, _effective(tilted))


@dataclass(frozen=True)
class _Limits:
    """Targets as constraints sign (E[r] - level) >= 0, or = 0.

    Args:
        objective: Number of each constraint's objective.
        sign: 1, or -1 for upper bounds.
        level: Level in the reward's unit.
        equal: Whether the constraint is an equation.
    """

    objective: IntArray
    sign: FloatArray
    level: FloatArray
    equal: npt.NDArray[np.bool_]


def _limits(
    names: Sequence[str], least: Mapping[str, float], most: Mapping[str, float], exactly: Mapping[str, float]
) -> _Limits:
    kinds = {"targets": (least, 1.0, False), "at_most": (most, -1.0, False), "exactly": (exactly, 1.0, True)}
    for field, (levels, _, _) in kinds.items():
        if unknown := sorted(set(levels) - set(names)):
            raise InputError(
                f"expected targets on {', '.join(names)}, found {', '.join(unknown)}", field=field
            )
        if not all(isinstance(level, Real) and math.isfinite(level) for level in levels.values()):
            raise InputError("rewards and targets must be finite numbers", field=field)
    if not (least or most or exactly):
        raise InputError(f"expected targets on {', '.join(names)}, found none", field="targets")
    if twice := sorted(set(exactly) & (set(least) | set(most))):
        raise InputError(f"'{twice[0]}' has another target, too", field="exactly")
    if wrong := [name for name in names if name in least and name in most and least[name] > most[name]]:
        raise InputError(f"'{wrong[0]}' is to be at least {least[wrong[0]]:g}", field="at_most")
    rows = [
        (number, sign, float(levels[name]), equal)
        for number, name in enumerate(names)
        for levels, sign, equal in kinds.values()
        if name in levels
    ]
    number, sign, level, equal = zip(*rows, strict=True)
    return _Limits(np.array(number), np.array(sign), np.array(level), np.array(equal))


def _table(rewards: Mapping[str, Sequence[float] | FloatArray]) -> FloatArray:
    columns = [as_floats(values, f"rewards.{name}") for name, values in rewards.items()]
    sizes = {values.shape for values in columns}
    if len(sizes) != 1 or sizes == {(0,)} or any(len(size) != 1 for size in sizes):
        raise InputError(f"expected equally many samples of each objective, found shapes {sorted(sizes)}")
    table = np.stack(columns, axis=1)
    if not np.isfinite(table).all():
        raise InputError("rewards and targets must be finite numbers")
    return table


def _by_prompt(numbers: IntArray) -> _Prompts:
    """Groups of samples that are sorted by these numbers."""
    _, sizes = np.unique(numbers, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    return _Prompts(np.repeat(np.arange(len(sizes)), sizes), starts, sizes / len(numbers))


def _least_shortfall(
    table: FloatArray, goal: FloatArray, equal: npt.NDArray[np.bool_], prompts: _Prompts
) -> tuple[float, FloatArray]:
    """The smallest t such that some distribution over each prompt's samples has all means above goal - t, and
    those of equations below goal + t; and the probabilities of all samples under it."""
    samples = len(table)
    table, goal = np.hstack([table, -table[:, equal]]), np.append(goal, -goal[equal])
    # Variables: the samples' probabilities, and t.
    membership = _sparse.csr_array(
        (np.ones(samples), (prompts.number, np.arange(samples))), shape=(len(prompts.share), samples + 1)
    )
    answer = _optimize.linprog(
        np.append(np.zeros(samples), 1.0),
        A_ub=_sparse.csr_array(np.hstack([-table.T, -np.ones((table.shape[1], 1))])), b_ub=-goal,
        A_eq=membership, b_eq=prompts.share, bounds=(0, None), method="highs",
    )  # fmt: skip
    return float(answer.x[-1]), answer.x[:-1]


def _tilt(scores: FloatArray, prompts: _Prompts) -> tuple[float, FloatArray]:
    """The mean over prompts of log mean exp(scores), and its gradient: the samples' tilted probabilities."""
    top = np.maximum.reduceat(scores, prompts.starts)
    raised = np.exp(scores - top[prompts.number])
    totals = np.add.reduceat(raised, prompts.starts)
    sizes = prompts.share * len(scores)
    value = float(prompts.share @ (top + np.log(totals / sizes)))
    return value, raised * (prompts.share / totals)[prompts.number]


def _dual(table: FloatArray, goal: FloatArray, equal: npt.NDArray[np.bool_], prompts: _Prompts) -> FloatArray:
    """The lambda that maximises the dual, starting from 0."""
    gaps = table - goal

    def loss(multipliers: FloatArray) -> tuple[float, FloatArray]:
        value, tilted = _tilt(gaps @ multipliers, prompts)
        return value, tilted @ gaps

    bounds = [(-1e4 if free else 0, 1e4) for free in equal.tolist()]
    answer = _optimize.minimize(
        loss, np.zeros(len(goal)), jac=True, bounds=bounds, method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000},
    )  # fmt: skip
    return np.asarray(answer.x)


def _effective(probabilities: FloatArray) -> float:
    return float(1 / (probabilities**2).sum())
