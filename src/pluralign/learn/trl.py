"""Reward models as reward functions for the RL trainers of TRL (GRPO, RLOO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pluralign.core import InputError
from pluralign.rewards.reward import Reward


class RewardFunction:
    """A reward function for ``GRPOTrainer(reward_funcs=...)`` and ``RLOOTrainer(reward_funcs=...)``.

    Several reward functions, one per objective, with the trainer's ``reward_weights`` as the mix, train a
    policy for one weighting. Completions of one prompt share the prompt's computation. TRL 1.16 takes one
    reward per completion; `tokens` gives the token rewards of AVA's eq. 19 for trainers that take them.

    Args:
        model: A reward model, or any other `rewards.Reward`.
        lower_bound: Number of standard deviations subtracted from the mean. If the model estimates its
            uncertainty, this keeps the policy away from completions with uncertain rewards.
        name: Name in the trainer's logs; the model's name by default.
    """

    def __init__(self, model: Reward, *, lower_bound: float = 0.0, name: str = "") -> None:
        if not lower_bound >= 0:
            raise InputError(f"must be 0 or more, found {lower_bound}", field="lower_bound")
        self.model, self.lower_bound = model, lower_bound
        self.__name__ = name or model.name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """Reward of each completion after its prompt.

        Args:
            prompts: Texts or messages.
            completions: Texts, or lists with one assistant message if the prompts are messages.
            columns: Further arguments from the trainer; ignored.

        Raises:
            InputError: The numbers of prompts and completions differ.
        """
        found = self.model.gaussian(prompts, completions)
        return (found.mean - self.lower_bound * found.sigma).tolist()

    def tokens(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[list[float]]:
        """Reward of every token of each completion, the end-of-text token last (AVA eq. 19).

        Raises:
            InputError: The model only rewards whole completions.
        """
        if len(prompts) != len(completions):
            raise InputError(f"found {len(prompts)} prompts and {len(completions)} completions")
        found = [self.model.tokens(*pair) for pair in zip(prompts, completions, strict=True)]
        return [[span.mean - self.lower_bound * span.sigma for span in spans] for spans in found]
