"""Weighted best-of-N: of several completions, the one that a user's mix of rewards likes best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError, OptionRewards, SteeringWeights
from pluralign.core.messages import Messages
from pluralign.rewards import Reward
from pluralign.rewards.ensemble import Scale


class WeightedReward(Reward):
    """sum_i w_i (mu_i - k sigma_i) / s_i: rewards of several objectives by a user's weights.

    Args:
        rewards: of each objective.
        weights: of the objectives; one of weight zero is not asked.
        scales: s_i of each objective (`rewards.ensemble.measure_scales`): rewards of different models have
            different units. All 1 by default.
        lower_bound: k, standard deviations that are taken from each mean where the model gives them: what a
            model only guesses then counts for less.
        name: how reports call it.

    Raises:
        InputError: an objective without a reward, or a negative bound.
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
        """See `Reward`; of one objective, as all read the same."""
        return next(iter(self._used.values())).counts

    def render(self, messages: Messages, opens: bool) -> str:
        """See `Reward`.

        Raises:
            InputError: the objectives' models read messages differently.
        """
        texts = {reward.render(messages, opens) for reward in self._used.values()}
        if len(texts) > 1:
            raise InputError(f"the rewards of {self.name} read messages by different templates")
        return texts.pop()

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma is that of independent errors."""
        known = list(decisions)
        scored = {key: reward.score_decisions(known) for key, reward in self._used.items()}
        return weigh(scored, self._weights, self._scales, lower_bound=self._bound)

    def best(self, decisions: Iterable[Decision]) -> list[int]:
        """The number of each decision's best option, the first of equals."""
        rewards: list[npt.NDArray[np.float64]] = [own.mean for own in self.score_decisions(decisions)]
        return [int(np.argmax(mean)) for mean in rewards]


def weigh(
    rewards: Mapping[str, Sequence[OptionRewards]], weights: SteeringWeights,
    scales: Mapping[str, Scale] | None = None, *, lower_bound: float = 0.0,
) -> list[OptionRewards]:  # fmt: skip
    """`WeightedReward` of rewards that are there already: sum_i w_i (mu_i - k sigma_i) / s_i.

    Args:
        rewards: of the same decisions, by objective; one of weight zero may be left out.
        weights: of the objectives.
        scales: s_i; all 1 by default.
        lower_bound: k.
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
    """Refuse what is no number of standard deviations to take away."""
    if not 0 <= bound < math.inf:
        raise InputError(f"must be 0 or more, found {bound}", field="lower_bound")
