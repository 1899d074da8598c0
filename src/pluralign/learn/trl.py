"""Reward models as reward functions of TRL's trainers (GRPO, RLOO), which do the RL fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pluralign.core import InputError
from pluralign.rewards import Reward


class RewardFunction:
    """What ``GRPOTrainer(reward_funcs=...)`` and ``RLOOTrainer(reward_funcs=...)`` call.

    Several of them, one for each objective, with the trainer's ``reward_weights`` as the mix, train a policy
    for one weighting. Completions of one prompt share its computation. TRL 1.16 takes one reward for each
    completion; `tokens` gives those of AVA's eq. 19 to trainers that take them.

    Args:
        model: a reward model, or anything else that scores completions (`rewards.Reward`).
        lower_bound: how many standard deviations are taken from the mean: where the model gives its
            uncertainty, this keeps the policy from where the model guesses.
        name: how the trainer logs it; by default the model's name.
    """

    def __init__(self, model: Reward, *, lower_bound: float = 0.0, name: str = "") -> None:
        if not lower_bound >= 0:
            raise InputError(f"must be 0 or more, found {lower_bound}", field="lower_bound")
        self.model, self.lower_bound = model, lower_bound
        self.__name__ = name or model.name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """The reward of each completion after its prompt.

        Args:
            prompts: texts, or messages.
            completions: texts, or messages (one of the assistant's) where the prompts are messages.
            columns: what else the trainer passes; ignored.

        Raises:
            InputError: as many completions as prompts were expected.
        """
        found = self.model.gaussian(prompts, completions)
        return (found.mean - self.lower_bound * found.sigma).tolist()

    def tokens(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[list[float]]:
        """The reward of every token of each completion, the end-of-text token's last (AVA eq. 19).

        Raises:
            InputError: the model gives rewards of whole completions only.
        """
        if len(prompts) != len(completions):
            raise InputError(f"{len(prompts)} prompts came with {len(completions)} completions")
        found = [self.model.tokens(*pair) for pair in zip(prompts, completions, strict=True)]
        return [[span.mean - self.lower_bound * span.sigma for span in spans] for spans in found]
