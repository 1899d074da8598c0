"""Several rewards of completions as one reward for TRL's policy gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.learn.combination import Combination
from pluralign.learn.weighting import Observed, Weighting, require_objectives
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.tensors import to_list
from pluralign.losses.advantages import Advantages, Rewards
from pluralign.rewards.identity import Scorer, reward_name, reward_provenance
from pluralign.rewards.open import load_rewards
from pluralign.rewards.reward import Reward, by_prompt, in_order, template_of
from pluralign.rewards.together import score_together
from pluralign.rewards.value_model import RewardScale

OneReward = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""Function from prompts and completions (one per prompt) to rewards."""

RewardFunctions = Mapping[str, OneReward]
"""Functions as above by objective."""

GivenRewards = Mapping[str, Scorer | OneReward]
"""Rewards by objective: functions as above, rewards, or arguments of `load_reward`."""

LogRatios = Callable[[Sequence[str], Sequence[Sequence[str]]], Float[Tensor, " completions"]]
"""Function from prompts and each one's completions to log pi - log pi_0 of all completions, nats."""


@final
class CombinedReward:
    """A reward for `reinforce` whose advantages are those of several rewards combined.

    TRL's RLOO takes off the mean reward of a completion's G - 1 siblings. Rewards (G - 1) / G A, with
    advantages A whose mean over the group is 0, come back as A: x - (-x) / (G - 1) = x G / (G - 1).

    Args:
        rewards: Reward functions by objective.
        weighting: Weights of the standardised rewards; it observes every batch.
        combination: How they become advantages.
        scales: Scale of each objective, in the order of the weighting.
        samples: Number of completions of a prompt, which follow one another.
        log_ratios: Log-ratios to the policy before training; required if the divergence has a weight.

    Raises:
        InputError: The combination would cancel what the weighting says, or its advantages have another mean
            over a group than 0, an objective has no reward, or there are no log-ratios.
    """

    def __init__(
        self, rewards: RewardFunctions, weighting: Weighting, combination: Combination,
        scales: Sequence[RewardScale], samples: int, log_ratios: LogRatios | None = None,
    ) -> None:  # fmt: skip
        require_objectives(weighting, list(rewards))
        combination.require(weighting)
        combination.require_centred()
        if combination.kl and log_ratios is None:
            raise InputError("requires the samples' log-ratios", field="kl")
        self._rewards, self._weighting, self._combination = rewards, weighting, combination
        self._scales, self._samples, self._log_ratios = scales, samples, log_ratios
        self._used: list[Float[Tensor, " objectives"]] = []
        self.count = 0
        """Number of completions so far."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Rewards of whole groups of completions.

        Raises:
            InputError: A reward is not finite, or the completions are not in whole groups.
        """
        size = self._samples
        groups = [prompts[i : i + size] for i in range(0, len(prompts), size)]
        if any(len(group) != size or len(set(group)) > 1 for group in groups):
            raise InputError(f"expected {size} completions of each prompt, one after another")
        known, texts = [group[0] for group in groups], grouped(completions, size)
        step = Observed(reward_table(self._rewards, self._weighting.objectives, known, texts), self._scales)
        weights = self._weighting.weights(known)
        near = None
        if self._combination.kl and self._log_ratios is not None:
            near = -self._log_ratios(known, texts).double().view(len(known), size)
        advantages: Advantages = self._combination.advantages(step.standardised, weights, near)
        self._weighting.observe(step)
        self._used.append(weights.mean(dim=0))
        self.count += len(completions)
        return to_list((advantages * (size - 1) / size).flatten())

    @property
    def mean_weights(self) -> dict[str, float]:
        """Mean of the weights that were used, by objective."""
        found = torch.stack(self._used).mean(dim=0)
        return dict(zip(self._weighting.objectives, to_list(found), strict=True))


@dataclass(frozen=True)
class ModelReward:
    """A reward as a function of prompts and completions.

    Args:
        model: The reward.
        texts: Function from prompts and completions to the texts that the reward reads.
    """

    model: Reward
    texts: Callable[[Sequence[str], Sequence[str]], list[tuple[str, str]]]

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Reward of each completion after its prompt."""
        return self.model.gaussian_of_texts(self.texts(prompts, completions)).mean.tolist()


def reward_of_texts(model: Reward) -> ModelReward:
    """A reward of completions of texts."""
    return ModelReward(model, model.texts)


def reward_of_samples(model: Reward, *, turns: bool) -> ModelReward:
    """A reward of what a policy wrote after prompts that are read as they are: what a chat template rendered
    may have been cut, and is no whole conversation then.

    Args:
        model: The reward.
        turns: Whether the policy answers messages, so that the end of its turn belongs to what a reward with
            a chat template reads.
    """
    template = template_of(model)
    written = template.answer if turns and template.name == "chat" else template.quote_completion

    def texts(prompts: Sequence[str], completions: Sequence[str]) -> list[tuple[str, str]]:
        return [(prompt, written(text)) for prompt, text in zip(prompts, completions, strict=True)]

    return ModelReward(model, texts)


def open_rewards(
    given: GivenRewards, dtype: DTypeName, of_model: Callable[[Reward], ModelReward] = reward_of_texts
) -> tuple[RewardFunctions, dict[str, Any]]:
    """Rewards as functions, and where they come from, for cards.

    Args:
        given: Rewards by objective.
        dtype: Floating-point type of those that are loaded.
        of_model: Function from a reward model to its function of prompts and completions.

    Raises:
        InputError: One is no reward, or cannot be loaded.
    """
    functions: dict[str, OneReward] = {}
    rewards: dict[str, Scorer] = {}
    sources: dict[str, Any] = {}
    for name, own in given.items():
        if isinstance(own, str | Path | Reward):
            rewards[name] = own
        elif callable(own):
            functions[name] = own
        else:
            raise InputError(f"expected a reward, found {own!r:.60}", field=f"rewards.{name}")
        sources[name] = {"source": reward_name(own), **reward_provenance(own)}
        if isinstance(own, str | Path) and dtype != "float32":
            sources[name]["dtype"] = dtype
    functions |= {name: of_model(own) for name, own in load_rewards(rewards, dtype=dtype).items()}
    return {name: functions[name] for name in given}, sources


def grouped(completions: Sequence[str], size: int) -> list[list[str]]:
    """Completions in groups of one size."""
    return [list(completions[i : i + size]) for i in range(0, len(completions), size)]


def reward_table(
    rewards: RewardFunctions, objectives: Sequence[str], prompts: Sequence[str],
    completions: Sequence[Sequence[str]],
) -> Rewards:  # fmt: skip
    """Rewards of completions, shape (prompts, samples, objectives), float64.

    Args:
        rewards: Reward functions by objective.
        objectives: Order of the last axis.
        prompts: Prompts.
        completions: Completions of each prompt, equally many.

    Raises:
        InputError: A function returns another number of rewards, or one that is not finite.
    """
    flat = [(prompt, text) for prompt, own in zip(prompts, completions, strict=True) for text in own]
    asked = [list(column) for column in zip(*flat, strict=True)]
    scored = _of_models({name: rewards[name] for name in objectives}, *asked)
    columns: list[Tensor] = []
    for name in objectives:
        if not callable(rewards[name]):
            raise InputError(f"expected a function, found {rewards[name]!r:.60}", field=f"rewards.{name}")
        given = scored[name] if name in scored else rewards[name](*asked)
        found = [float(value) for value in given]
        if len(found) != len(flat) or not all(math.isfinite(value) for value in found):
            raise InputError(
                f"expected {len(flat)} finite rewards, found {len(found)}: {found[:3]}...",
                field=f"rewards.{name}",
            )
        columns.append(torch.tensor(found, dtype=torch.float64).view(len(prompts), -1))
    return torch.stack(columns, dim=2)


def _of_models(
    rewards: RewardFunctions, prompts: Sequence[str], completions: Sequence[str]
) -> dict[str, Sequence[float]]:
    """Rewards by models, which share what they have in common."""
    models = {name: own for name, own in rewards.items() if isinstance(own, ModelReward)}
    read = {name: by_prompt(own.texts(prompts, completions)) for name, own in models.items()}
    found = score_together(
        {name: own.model for name, own in models.items()},
        {name: decisions for name, (decisions, _) in read.items()},
    )
    return {name: in_order(places, found[name]).mean.tolist() for name, (_, places) in read.items()}
