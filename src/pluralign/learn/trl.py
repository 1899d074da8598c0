"""Reward models as reward functions for the RL trainers of TRL (GRPO, RLOO)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.core import InputError
from pluralign.core.messages import Conversation
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
            completions: Texts, or lists of messages that begin with the assistant's; all of them are scored.
            columns: Further columns of the trainer's rows: ``tools`` and ``chat_template_kwargs`` go with
                prompts that are messages; others are ignored.

        Raises:
            InputError: The numbers of prompts and completions differ.
        """
        found = self.model.gaussian(_with_columns(prompts, columns), completions)
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


def _with_columns(prompts: Sequence[Any], columns: Mapping[str, Any]) -> list[Any]:
    """Prompts that are messages, with the other arguments of their template."""
    tools, options = columns.get("tools"), columns.get("chat_template_kwargs")
    found: list[Any] = []
    for i, prompt in enumerate(prompts):
        own = {"tools": tools[i]} if tools and tools[i] else {}
        own |= options[i] if options and options[i] else {}
        found.append(Conversation(prompt, own) if own and not isinstance(prompt, str) else prompt)
    return found
