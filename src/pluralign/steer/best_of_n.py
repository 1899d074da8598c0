"""Weighted best-of-N: the completion with the highest weighted sum of rewards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError, OptionRewards, SteeringWeights
from pluralign.core.messages import Messages, Template
from pluralign.rewards.ensemble import Scale, shared_template
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.together import score_together


class WeightedReward(Reward):
    """sum_i w_i (mu_i - k sigma_i) / s_i: rewards of several objectives under a user's weights.

    Args:
        rewards: Reward of each objective.
        weights: Weights of the objectives; objectives of weight zero are not scored.
        scales: Scale s_i of each objective (`rewards.ensemble.measure_scales`), because rewards of different
            models have different units. All 1 by default.
        lower_bound: Number k of standard deviations subtracted from each mean if the model estimates them.
            Uncertain rewards then count for less.
        name: Name in reports.

    Raises:
        InputError: An objective has no reward, or the bound is negative.
    """

    def __init__(
        self, rewards: Mapping[str, Reward], weights: SteeringWeights,
        scales: Mapping[str, Scale] | None = None, *, lower_bound: float = 0.0, name: str = "",
    ) -> None:  # fmt: skip
        unknown = sorted(set(weights) - set(rewards))
        if unknown:
            raise InputError(
                f"unknown objective {unknown[0]!r}; there are {', '.join(rewards)}", field="weights"
            )
        check_lower_bound(lower_bound)
        self._used = {key: rewards[key] for key in rewards if weights.get(key, 0.0) > 0}
        self._weights, self._scales, self._bound = weights, scales or {}, lower_bound
        self.name = name or ", ".join(f"{key} {weights[key]:g}" for key in self._used)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`; counts of one objective, since all read the same completions."""
        return next(iter(self._used.values())).counts

    def render(self, messages: Messages, opens: bool) -> str:
        """See `Reward`.

        Raises:
            InputError: The objectives' models use different templates.
        """
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`; that of all objectives."""
        message = f"the rewards of {self.name} use different templates for messages"
        return shared_template([template_of(reward) for reward in self._used.values()], message)

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma assumes independent errors."""
        known = list(decisions)
        scored = score_together(self._used, dict.fromkeys(self._used, known))
        return weigh(scored, self._weights, self._scales, lower_bound=self._bound)

    def best(self, decisions: Iterable[Decision]) -> list[int]:
        """Index of each decision's best option, the first of equals."""
        rewards: list[npt.NDArray[np.float64]] = [own.mean for own in self.score_decisions(decisions)]
        return [int(np.argmax(mean)) for mean in rewards]


def weigh(
    rewards: Mapping[str, Sequence[OptionRewards]], weights: SteeringWeights,
    scales: Mapping[str, Scale] | None = None, *, lower_bound: float = 0.0,
) -> list[OptionRewards]:  # fmt: skip
    """`WeightedReward` of given rewards: sum_i w_i (mu_i - k sigma_i) / s_i.

    Args:
        rewards: Rewards of the same decisions, by objective; objectives of weight zero may be missing.
        weights: Weights of the objectives.
        scales: Scale s_i of each objective; all 1 by default.
        lower_bound: Number k of standard deviations subtracted from each mean.
    """
    found: list[OptionRewards] = []
    for own in zip(*rewards.values(), strict=True):
        mean = np.zeros(len(own[0].mean))
        variance = np.zeros_like(mean)
        for key, one in zip(rewards, own, strict=True):
            share = weights.get(key, 0.0) / (scales[key].deviation if scales and key in scales else 1.0)
            mean += share * (one.mean - lower_bound * one.sigma)
            variance += (share * one.sigma) ** 2
        found.append(OptionRewards(mean, np.sqrt(variance)))
    return found


def check_lower_bound(bound: float) -> None:
    """Refuse a lower bound that is negative or not a number."""
    if not 0 <= bound < math.inf:
        raise InputError(f"must be 0 or more, found {bound}", field="lower_bound")
