"""From a vector of rewards to advantages: scales, weights, a tail, the divergence as an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pluralign.core import InputError
from pluralign.core.checks import require_at_least
from pluralign.learn.constraints import Constrained
from pluralign.learn.weighting import Weighting
from pluralign.losses.advantages import (
    Advantages,
    Rewards,
    Weights,
    advantage_combination,
    centred_sum,
    dvao,
    fused_sum,
    gdpo,
    reward_combination,
)
from pluralign.losses.risk import quantile_utility
from pluralign.rewards.value_model import RewardScale

NEAR = "near"
"""Name of the objective to stay near the policy before training: -log(pi / pi_0) of a sample, nats."""

Combine = Callable[[Rewards, Weights], Advantages]
"""Function from rewards and weights to advantages (`losses.advantages`)."""

COMBINATIONS: Mapping[str, Combine] = {
    "sum": centred_sum,
    "group": reward_combination,
    "each": advantage_combination,
    "gdpo": gdpo,
    "variance": dvao,
    "fused": fused_sum,
}
"""Combinations by the names that command lines take."""


@dataclass(frozen=True)
class Tail:
    """A concave utility of weighted rewards that weighs the worst samples of a batch more (RiskPO, Ren et al.
    2025, arXiv 2510.00911; `losses.risk.quantile_utility`), without the paper's bundles of prompts.

    Args:
        low: Share of the samples that count 1 + omega times (RiskPO: 0.2).
        high: Share of the samples above which more reward counts nothing (RiskPO: 0.8); 1 for no such limit.
        omega: Additional weight of the worst samples (RiskPO: 0.5).

    Raises:
        InputError: The shares are not in this order within [0, 1], or omega is negative.
    """

    low: float = 0.2
    high: float = 0.8
    omega: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(0, low=self.low, high=self.high, omega=self.omega)
        if not self.low <= self.high <= 1:
            raise InputError(f"must be from low, {self.low:g}, to 1, found {self.high:g}", field="high")

    def __call__(self, scores: Advantages) -> Advantages:
        """Utilities of the scores of a batch."""
        return quantile_utility(scores, self.low, self.high, omega=self.omega)


@dataclass(frozen=True)
class Combination:
    """How standardised rewards, weights and the divergence become advantages.

    Args:
        combine: Combination of rewards.
        kl: Weight of `NEAR`, in units of a standardised reward for a nat.
        tail: Utility of the weighted rewards; None is the identity.

    Raises:
        InputError: The weight is negative, or a setting would be cancelled by the combination.
    """

    combine: Combine = centred_sum
    kl: float = 0.0
    tail: Tail | None = None

    def __post_init__(self) -> None:
        require_at_least(0, kl=self.kl)
        if self.tail is not None:
            self._require_sum("a tail, which is a utility of the weighted sum")
        if self.kl and self.combine in (advantage_combination, gdpo):
            raise InputError(
                f"{self.combine.__name__} divides the divergence by its own deviation, so its weight is no "
                "price; give kl 0, or another combination",
                field="kl",
            )

    def require(self, weighting: Weighting) -> None:
        """Check that the combination keeps what a weighting says.

        Raises:
            InputError: It would cancel the size of the weights, or a tail would change what a multiplier of a
                target is the price of; or targets are met at no cost, since neither the divergence nor a
                reward is maximised.
        """
        if weighting.plain_sum_only:
            self._require_sum(weighting.plain_sum_only)
        if not isinstance(weighting, Constrained):
            return
        if self.tail is not None:
            raise InputError(
                "cannot be combined with targets: multipliers are prices of mean rewards, and a tail pays "
                "for a part of them only",
                field="tail",
            )
        if not self.kl and not weighting.maximises:
            raise InputError("must be above 0 with targets and no weights", field="kl")

    def require_centred(self) -> None:
        """Check that advantages have mean 0 over a prompt's samples, as a trainer with its own leave-one-out
        baseline makes them.

        Raises:
            InputError: They have another mean.
        """
        if self.combine is fused_sum:
            raise InputError(
                "the trainer's leave-one-out baseline takes the place of that of fused_sum; use centred_sum",
                field="combine",
            )

    def advantages(self, rewards: Rewards, weights: Weights, near: Advantages | None = None) -> Advantages:
        """Advantages of samples.

        Args:
            rewards: Standardised rewards.
            weights: Weights of the rewards for each prompt.
            near: -log(pi / pi_0) of each sample, nats; required if its weight is not 0.
        """
        if self.tail is not None:
            rewards = self.tail(torch.einsum("pso,po->ps", rewards, weights))[..., None]
            weights = torch.ones_like(weights[:, :1])
        if self.kl:
            if near is None:
                raise InputError("requires the samples' log-ratios", field="kl")
            rewards = torch.cat([rewards, near[..., None].to(rewards.dtype)], dim=2)
            weights = torch.cat([weights, torch.full_like(weights[:, :1], self.kl)], dim=1)
        return self.combine(rewards, weights)

    def _require_sum(self, what: str) -> None:
        if self.combine not in (centred_sum, fused_sum):
            name = getattr(self.combine, "__name__", "another function")
            raise InputError(f"{name} cancels {what}; use centred_sum", field="combine")


def measured_scales(rewards: Rewards, names: Sequence[str]) -> tuple[RewardScale, ...]:
    """Mean and standard deviation of each objective over all samples.

    Args:
        rewards: Rewards of the first draw.
        names: Objectives.

    Raises:
        InputError: A reward is not finite, or the same for all samples.
    """
    found: list[RewardScale] = []
    for number, name in enumerate(names):
        own = rewards[..., number]
        mean, deviation = float(own.mean()), float(own.std(correction=0))
        if not (own.isfinite().all() and deviation > 1e-9 * max(1.0, abs(mean))):
            raise InputError(
                f"gives all {own.numel()} samples of the first draw the same reward, {mean:g}, or none; "
                "nothing can be learned",
                field=f"rewards.{name}",
            )
        found.append(RewardScale(mean, deviation))
    return tuple(found)
