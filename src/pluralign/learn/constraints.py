"""Targets on mean rewards in a policy gradient: multipliers that move until the targets are met."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError, SteeringWeights
from pluralign.core.checks import require_positive
from pluralign.core.level import Level
from pluralign.learn.weighting import Observed
from pluralign.lm.tensors import to_list
from pluralign.losses.advantages import Weights
from pluralign.rewards.value_model import RewardScale

Kind = Literal["at_least", "at_most", "exactly"]
Levels = Mapping[str, Level]
_FLOOR = -6.0
_MISSED = 0.1


@dataclass(frozen=True)
class Constraint:
    """A target on the mean of one reward.

    Args:
        name: Objective.
        level: Level of its mean.
        kind: Whether the level is the smallest, the largest or the only acceptable one.
    """

    name: str
    level: Level
    kind: Kind

    def gap(self, mean: float, scale: RewardScale) -> float:
        """Distance from the target in standard deviations of the first draw: positive where an inequality is
        violated, and where an equality asks for more."""
        wanted = self.level.at(scale.mean, scale.deviation)
        gap = (wanted - mean) / scale.deviation
        return -gap if self.kind == "at_most" else gap


@final
class Constrained:
    """Lagrange multipliers of targets as weights: constrained RLHF (Moskovitz et al. 2024, arXiv 2310.04373),
    mu-PPO's inequalities and xi-PPO's equalities, with multipliers that are not squashed.

    Maximises sum_k w_k r_k - kl KL(pi || pi_0) subject to the targets: the weight of objective k is w_k plus
    its multiplier (minus that of a largest level). After every batch, a multiplier moves by the distance of
    the batch's mean from the target. Multipliers of inequalities are softplus(theta) minus its value at
    theta's lower bound, so they are 0 where the target is met anyway; those of equalities have any sign. Only
    averaged multipliers converge; `multipliers` are averages in which the t-th batch counts about t ** 3
    times.

    Args:
        objectives: Objectives of the rewards.
        at_least: Smallest acceptable mean rewards.
        at_most: Largest acceptable mean rewards.
        exactly: Required mean rewards; these have no other target.
        weights: Weights of rewards that are maximised as well; none by default.
        rate: Step size of the multipliers.
        highest: Largest size of a multiplier, so that a target that cannot be met does not let it diverge.

    Raises:
        InputError: There is no target, or one is on an unknown objective or contradicts another.
    """

    plain_sum_only = "multipliers, which are prices of rewards"

    def __init__(
        self, objectives: Sequence[str], *, at_least: Levels | None = None, at_most: Levels | None = None,
        exactly: Levels | None = None, weights: SteeringWeights | None = None, rate: float = 0.1,
        highest: float = 50.0,
    ) -> None:  # fmt: skip
        require_positive(rate=rate, highest=highest)
        self.objectives = tuple(objectives)
        given: dict[Kind, Levels] = {
            "at_least": at_least or {},
            "at_most": at_most or {},
            "exactly": exactly or {},
        }
        _check(self.objectives, given)
        self.constraints = [
            Constraint(name, level, kind) for kind, levels in given.items() for name, level in levels.items()
        ]
        self.rate, self.highest = rate, highest
        base = torch.zeros(len(self.objectives), dtype=torch.float64)
        self._base = base if weights is None else torch.tensor(weights.aligned_to(self.objectives))
        count = len(self.constraints)
        self._theta = [0.0 if one.kind == "exactly" else _FLOOR for one in self.constraints]
        self._mean, self._gap, self._steps = [0.0] * count, [0.0] * count, 0

    @property
    def maximises(self) -> bool:
        """Whether rewards are maximised besides the targets."""
        return bool((self._base > 0).any())

    def weights(self, prompts: Sequence[str]) -> Weights:
        """See `Weighting.weights`."""
        return (self._base + self._prices(self._now())).expand(len(prompts), -1)

    def observe(self, step: Observed) -> None:
        """See `Weighting.observe`; held-out samples change nothing."""
        if step.held_out:
            return
        means: list[float] = to_list(step.rewards.mean(dim=(0, 1)))
        self._steps += 1
        # Weights t (t + 1) (t + 2): the beginning hardly counts.
        share = 4 / (self._steps + 3)
        for i, one in enumerate(self.constraints):
            place = self.objectives.index(one.name)
            gap = one.gap(means[place], step.scales[place])
            low = -self.highest if one.kind == "exactly" else _FLOOR
            self._theta[i] = min(max(self._theta[i] + self.rate * gap, low), self.highest)
            self._gap[i] += share * (gap - self._gap[i])
            self._mean[i] += share * (self._now()[i] - self._mean[i])

    def describe(self) -> dict[str, Any]:
        """See `Weighting.describe`."""
        targets = [dataclasses.asdict(one) for one in self.constraints]
        weights = dict(zip(self.objectives, to_list(self._base), strict=True))
        return {"kind": "constrained", "targets": targets, "weights": weights, "rate": self.rate,
                "highest": self.highest}  # fmt: skip

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {"theta": self._theta, "mean": self._mean, "gap": self._gap, "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.restore`."""
        self._theta, self._mean, self._gap = (
            [float(value) for value in state[name]] for name in ("theta", "mean", "gap")
        )
        self._steps = int(state["steps"])

    @property
    def multipliers(self) -> dict[str, float]:
        """Averaged multiplier of each objective for its standardised reward; negative ones push rewards down.
        Divided by the reward's deviation and by the weight of the divergence, they are `meet_targets`'."""
        return dict(zip(self.objectives, to_list(self._prices(self._mean)), strict=True))

    @property
    def missed(self) -> dict[str, float]:
        """Objectives whose targets are not met by training so far, with the averaged distance in standard
        deviations; distances of a tenth and less are left out."""
        found: dict[str, float] = {}
        for one, gap in zip(self.constraints, self._gap, strict=True):
            distance = abs(gap) if one.kind == "exactly" else gap
            if distance > _MISSED:
                found[one.name] = max(distance, found.get(one.name, 0.0))
        return found

    def _now(self) -> list[float]:
        """Multiplier of each constraint now."""
        return [
            theta if one.kind == "exactly" else _softplus(theta) - _softplus(_FLOOR)
            for one, theta in zip(self.constraints, self._theta, strict=True)
        ]

    def _prices(self, multipliers: Sequence[float]) -> Float[Tensor, " objectives"]:
        """Sum of the constraints' multipliers by objective, negative for largest levels."""
        found = torch.zeros(len(self.objectives), dtype=torch.float64)
        for one, value in zip(self.constraints, multipliers, strict=True):
            found[self.objectives.index(one.name)] += -value if one.kind == "at_most" else value
        return found


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _check(objectives: Sequence[str], given: Mapping[Kind, Levels]) -> None:
    for kind, levels in given.items():
        if unknown := sorted(set(levels) - set(objectives)):
            raise InputError(f"'{unknown[0]}' has no reward; there are {', '.join(objectives)}", field=kind)
    least, most, exactly = (given[kind] for kind in ("at_least", "at_most", "exactly"))
    if not (least or most or exactly):
        raise InputError("give at least one target", field="at_least")
    if twice := sorted(set(exactly) & (set(least) | set(most))):
        raise InputError(f"'{twice[0]}' has another target, too", field="exactly")
    for name in sorted(set(least) & set(most)):
        low, high = least[name], most[name]
        if low.relative == high.relative and low.value > high.value:
            raise InputError(f"'{name}' is to be at least {low.value:g}", field="at_most")
