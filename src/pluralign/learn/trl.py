"""Reward models as reward functions of TRL's trainers (GRPO, RLOO), which do the RL fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import Messages
from pluralign.rewards import CompletionScorer
from pluralign.rewards.reward_model import RewardModel


class RewardFunction:
    """What ``GRPOTrainer(reward_funcs=...)`` and ``RLOOTrainer(reward_funcs=...)`` call.

    Several of them, one for each objective, with the trainer's ``reward_weights`` as the mix, train a policy
    for one weighting. Completions of one prompt share its computation. TRL 1.16 takes one reward for each
    completion; `tokens` gives those of AVA's eq. 19 to trainers that take them.

    Args:
        model: a reward model, or anything else that scores completions (`models.scoring`).
        lower_bound: how many standard deviations are taken from the mean: where the model gives its
            uncertainty, this keeps the policy from where the model guesses.
        name: how the trainer logs it; by default the model's name.
    """

    def __init__(self, model: CompletionScorer, *, lower_bound: float = 0.0, name: str = "") -> None:
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
        texts = self._texts(prompts, completions)
        places: dict[str, list[int]] = {}
        for i, (prompt, _) in enumerate(texts):
            places.setdefault(prompt, []).append(i)
        decisions = [Decision(prompt, tuple(texts[i][1] for i in own)) for prompt, own in places.items()]
        rewards = [0.0] * len(texts)
        for own, found in zip(places.values(), self.model.score(decisions), strict=True):
            for i, value in zip(own, self._bounded(found), strict=True):
                rewards[i] = value
        return rewards

    def tokens(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[list[float]]:
        """The reward of every token of each completion, the end-of-text token's last (AVA eq. 19).

        Raises:
            InputError: what scores is no reward model, and so has rewards of whole completions alone.
        """
        if not isinstance(self.model, RewardModel):
            raise InputError(f"{self.model.name!r} gives rewards of whole completions only")
        found: list[list[float]] = []
        for prompt, completion in self._texts(prompts, completions):
            (spans,) = self.model.token_rewards(Decision(prompt, (completion,)))
            found.append([span.mean - self.lower_bound * span.sigma for span in spans])
        return found

    def _bounded(self, rewards: OptionRewards) -> list[float]:
        return (rewards.mean - self.lower_bound * rewards.sigma).tolist()

    def _texts(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[tuple[str, str]]:
        if len(prompts) != len(completions):
            raise InputError(f"{len(prompts)} prompts came with {len(completions)} completions")
        return [self._text(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]

    def _text(self, prompt: str | Messages, completion: str | Messages) -> tuple[str, str]:
        if isinstance(prompt, str):
            answer = completion if isinstance(completion, str) else _content(completion[0])
            return prompt, answer
        rendered = self.model.render(prompt, True)
        answer = (
            {"role": "assistant", "content": completion} if isinstance(completion, str) else completion[0]
        )
        return rendered, self.model.render([*prompt, answer], False).removeprefix(rendered)


def _content(message: Mapping[str, str]) -> str:
    return message["content"]
