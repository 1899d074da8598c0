"""Budgets of samples: how many completions of each prompt are worth their price."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pluralign.core import InputError, OptionRewards, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import require, require_positive
from pluralign.core.digests import digest
from pluralign.core.messages import Prompt
from pluralign.lm.dtypes import DTypeName
from pluralign.losses.value_prior import (
    empirical_reservation_value,
    fuse,
    pooled_variance,
    reservation_value,
)
from pluralign.rewards.ensemble import Scale, scale_of
from pluralign.rewards.identity import Scorer, reward_identity, reward_name
from pluralign.rewards.open import load_rewards, require_reward
from pluralign.rewards.reward import Reward
from pluralign.steer.best_of_n import weigh

RewardFunction = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float] | FloatArray]
"""Function from prompts and one completion of each to their rewards."""
Rewards = Mapping[str, FloatArray]
"""Rewards of a prompt's samples, by objective."""
_SKEWED = 1.0
"""Skewness from which on rewards are reported as not normal."""
_FEW = 10
"""Number of samples below which the mean of what exceeds a level is reported as rough."""
RewardDistribution = Literal["normal", "samples"]
"""What rewards of one prompt are taken to be: normal, or distributed around their mean as the first samples
of all prompts are around theirs."""


@dataclass(frozen=True)
class Budget:
    """Samples of each prompt until one is so good that another is not worth its price.

    ``least`` samples of each prompt are drawn, and then one at a time until the best reward of the prompt is
    at least its reservation value, where the expected gain of one more sample equals its price, or until
    there are ``most``. For normal rewards it is mu + z sigma (`losses.value_prior.reservation_value`): mu is
    the mean of the samples so far, fused with the prompt's prior value if there is one
    (`losses.value_prior.fuse`); sigma is pooled over the first samples of all prompts, since few samples say
    little of their own deviation. A warning says if rewards are skewed. With ``reward_distribution``
    "samples", the differences of the first samples of all prompts from their prompts' means, divided by
    sqrt(1 - 1 / least), which gives them the deviation sigma, take the place of the normal distribution
    (`losses.value_prior.empirical_reservation_value`). Use it for skewed rewards and many prompts.

    One reward counts, like the price, in its own unit. Several are divided by their standard deviations
    between a prompt's first samples and weighted, as in ``choose``; the price is in these units then.

    Examples:
        >>> rewards = {"brief": lambda prompts, texts: [-len(text) for text in texts]}
        >>> budget = Budget(2, 8, price=0.1, rewards=rewards)
        >>> budget.label
        '2..8'

    Args:
        least: Smallest number of samples of each prompt, at least 2, from which sigma is measured.
        most: Largest number of samples of each prompt, above ``least``.
        price: Price of a sample, above 0.
        rewards: Reward of each objective: a reward as `load_reward` takes it, or a function from prompts and
            completions to numbers (a run with functions is not continued). Rewards of weight 0 are not
            loaded.
        weights: Weights of the rewards, summing to one; equal by default.
        prior: Prior value of each prompt, in the prompts' order and in the unit of the single reward.
        reward_distribution: What rewards of a prompt are taken to be; "samples" requires ``least`` of 3 or
            more, since two samples are always symmetric around their mean.
        dtype: Floating-point type of the rewards.

    Raises:
        InputError: There is no reward, a number is out of range, a weight names an objective without a
            reward, a folder holds no reward, or there is a prior for several rewards.
    """

    least: int
    most: int
    price: float
    rewards: Mapping[str, Scorer | RewardFunction]
    weights: Mapping[str, float] | None = None
    prior: Sequence[float] | FloatArray | None = field(default=None, kw_only=True)
    reward_distribution: RewardDistribution = field(default="normal", kw_only=True)
    dtype: DTypeName = field(default="float32", kw_only=True)

    def __post_init__(self) -> None:
        require(self, {})
        if self.least < 2:
            # The first samples of a prompt are what the deviation is measured on.
            raise InputError(f"must begin with 2 or more, found {self.least}..{self.most}", field="samples")
        if self.reward_distribution == "samples" and self.least < 3:
            raise InputError(
                f"must begin with 3 or more for the distribution of samples, found {self.label}: two are "
                "always symmetric around their mean",
                field="samples",
            )
        if self.most <= self.least:
            raise InputError(
                f"expected a range in ascending order, found {self.least}..{self.most}", field="samples"
            )
        require_positive(price=self.price)
        if not self.rewards:
            raise InputError("expected at least one reward, found none", field="rewards")
        mix = SteeringWeights.uniform(tuple(self.rewards)) if self.weights is None else self.weights
        weights = SteeringWeights(mix)
        weights.require_known(tuple(self.rewards))
        used = {name: own for name, own in self.rewards.items() if weights.get(name, 0.0) > 0}
        for own in used.values():
            if isinstance(own, str | Path):
                require_reward(own)
        if self.prior is not None and len(used) > 1:
            raise InputError("is the value of one reward, and does not apply to several", field="prior")
        for number, value in enumerate(self.prior if self.prior is not None else (), start=1):
            if not math.isfinite(value):
                raise InputError(f"expected a finite number, found {value}", row=number, field="prior")
        object.__setattr__(self, "rewards", used)
        object.__setattr__(self, "weights", SteeringWeights({name: weights[name] for name in used}))

    @property
    def label(self) -> str:
        """The range as the command line has it."""
        return f"{self.least}..{self.most}"

    def described(self) -> dict[str, Any]:
        """Columns that record the budget in each row."""
        several = {"reward_weights": dict(self.weights or {})} if len(self.rewards) > 1 else {}
        return {
            "samples": self.label, "price": self.price, "reward_distribution": self.reward_distribution,
            "reward_models": {name: reward_name(own) for name, own in self.rewards.items()}, **several,
        }  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What the numbers of samples depend on, beyond the columns."""
        known = {name: reward_identity(own) for name, own in self.rewards.items()}
        prior = None if self.prior is None else digest([np.asarray(self.prior, np.float64).tobytes()])
        return {"rewards": known, "prior": prior, "reward_dtype": self.dtype}

    def opened(self) -> Mapping[str, RewardFunction]:
        """Functions that score, by objective.

        Raises:
            InputError: A reward cannot be loaded.
        """
        functions: dict[str, RewardFunction] = {}
        given: dict[str, Scorer] = {}
        for name, own in self.rewards.items():
            if isinstance(own, str | Path | Reward):
                given[name] = own
            else:
                functions[name] = own
        functions |= {name: own.score for name, own in load_rewards(given, dtype=self.dtype).items()}
        return {name: functions[name] for name in self.rewards}

    def weighted(self, first: Sequence[Rewards]) -> Callable[[Rewards], FloatArray]:
        """Function from the rewards of a prompt's samples to the number that the rule compares.

        Args:
            first: Rewards of the first samples of every prompt, from which scales are measured.

        Raises:
            InputError: One of several rewards is the same for all samples of each prompt.
        """
        if len(self.rewards) == 1:
            (name,) = self.rewards
            return lambda rewards: rewards[name]
        scales: dict[str, Scale] = {n: scale_of([own[n] for own in first], n) for n in self.rewards}
        weights = SteeringWeights(self.weights or {})

        def total(rewards: Rewards) -> FloatArray:
            own = {name: [OptionRewards(mean, np.zeros(len(mean)))] for name, mean in rewards.items()}
            return weigh(own, weights, scales)[0].mean

        return total


@dataclass(frozen=True)
class StoppingRule:
    """Decides from the rewards of a prompt's samples whether another one is worth its price.

    Args:
        most: Largest number of samples.
        variance: Variance of one sample's reward, pooled over prompts.
        margin: Reservation value of a prompt whose mean reward is 0.
        normal: Whether the margin is that of normal rewards.
    """

    most: int
    variance: float
    margin: float
    normal: bool = True

    @classmethod
    def measured(cls, budget: Budget, first: Sequence[FloatArray]) -> StoppingRule:
        """The rule of a budget, from the rewards of the first samples of every prompt, equally many."""
        variance = pooled_variance(torch.tensor(np.stack(first)))
        normal = budget.reward_distribution == "normal"
        if normal:
            margin = reservation_value(torch.zeros_like(variance), variance.sqrt(), budget.price)
        else:
            margin = empirical_reservation_value(torch.tensor(residuals(first).ravel()), budget.price)
        return cls(budget.most, float(variance), float(margin), normal)

    def doubts(self, first: Sequence[FloatArray]) -> str | None:
        """Why numbers of samples may not be the best ones for the price; None if nothing speaks against it.

        Args:
            first: Rewards of the first samples of every prompt, equally many.
        """
        if self.normal:
            skewness = residual_skewness(first)
            return None if abs(skewness) <= _SKEWED else (
                f"rewards of a prompt's samples have a skewness of {skewness:.1f}; numbers of samples are "
                "the best ones for normal rewards, which have 0; the distribution of samples assumes nothing"
            )  # fmt: skip
        gaps = residuals(first)
        above = int((gaps > self.margin).sum())
        return None if above >= _FEW else (
            f"{above} of {gaps.size} first samples are above the reservation value of their prompt, by which "
            "the gain of one more is measured; give more prompts or first samples, or take rewards for normal"
        )  # fmt: skip

    def threshold(self, rewards: FloatArray, prior: float | None = None) -> float:
        """Reward from which on no further sample is worth its price.

        Args:
            rewards: Rewards of the prompt's samples so far.
            prior: Prior value of the prompt.
        """
        mean = float(rewards.mean())
        if prior is not None:
            known = torch.tensor([prior, mean, self.variance / len(rewards)], dtype=torch.float64)
            mean = float(fuse(*known))
        return mean + self.margin

    def goes_on(self, rewards: FloatArray, prior: float | None = None) -> bool:
        """Whether another sample is drawn; see `threshold`."""
        return len(rewards) < self.most and float(rewards.max()) < self.threshold(rewards, prior)


def residuals(first: Sequence[FloatArray]) -> FloatArray:
    """Differences of rewards from their prompts' means with the deviation of one sample around its prompt's
    true mean: divided by sqrt(1 - 1 / k), since the mean of k samples is nearer to them.

    Args:
        first: Rewards of the first k samples of every prompt, equally many, at least 2.

    Returns:
        One row for each prompt.
    """
    rewards = np.stack(first)
    return (rewards - rewards.mean(axis=1, keepdims=True)) / (1 - 1 / rewards.shape[1]) ** 0.5


def residual_skewness(first: Sequence[FloatArray]) -> float:
    """Skewness of a reward around its prompt's mean; 0 if all are equal, or if there are two of each prompt,
    which are symmetric whatever the rewards are.

    The third moment around the mean of k samples is (k - 1) (k - 2) / k^2 of that around the true one.

    Args:
        first: Rewards of the first k samples of every prompt, equally many, at least 2.
    """
    gaps, number = residuals(first), len(first[0])
    spread = float((gaps**2).mean()) ** 0.5
    if not spread or number < 3:
        return 0.0
    # `residuals` divided by (1 - 1 / k)^(1/2), the third moment therefore by its third power.
    return float((gaps**3).mean()) * ((number - 1) * number) ** 0.5 / (number - 2) / spread**3
