"""The interface of rewards of completions, shared by reward models, classifiers and ensembles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.message_fields import normal_message
from pluralign.core.messages import Conversation, Messages, Prompt, Template, arguments_of
from pluralign.core.turns import completion_texts
from pluralign.rewards.spans import SpanReward, by_sentence

Completion = str | Messages
"""A text, which is the content of the assistant's message, or a list of messages that begins with the
assistant's; all of them are scored."""


class Reward(ABC):
    """A reward of completions. Scores of a text do not depend on what is scored with it.

    Attributes:
        name: Name in reports.
    """

    name: str

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """Number of completions read so far, and how many of them were truncated."""

    @abstractmethod
    def render(self, messages: Messages, opens: bool) -> str:
        """Messages rendered to the text that the model reads; ``opens`` starts the assistant's turn."""

    @property
    def template(self) -> Template:
        """Template of messages, and of texts by users and models."""
        return Template("custom", render=self.render)

    @abstractmethod
    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """Rewards of each decision's options (completions) after its prompt, each of shape (options,).

        The texts are read as they are, with the control tokens that they name (see `Template.quote`).
        """

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> npt.NDArray[np.float64]:
        """Mean reward of each completion after its prompt; equal prompts are computed once.

        Args:
            prompts: Texts, used as they are (names of control tokens are ordinary text), or lists of
                messages.
            completions: Texts, or lists of messages that begin with the assistant's; one per prompt.

        Returns:
            Rewards of shape (completions,), in the reward's own unit; see `gaussian` for their uncertainty.

        Raises:
            InputError: The numbers of completions and prompts differ, or the template refuses messages.
        """
        return self.gaussian(prompts, completions).mean

    def gaussian(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> OptionRewards:
        """Mean and standard deviation of each completion's reward; see `score`.

        Returns:
            ``mean`` and ``sigma`` of shape (completions,); ``sigma`` is 0 if the model does not estimate it.
        """
        return self.gaussian_of_texts(self.texts(prompts, completions))

    def gaussian_of_texts(self, texts: Sequence[tuple[str, str]]) -> OptionRewards:
        """`gaussian` of prompts and completions that are read as they are; see `score_decisions`."""
        decisions, places = by_prompt(texts)
        return in_order(places, self.score_decisions(decisions))

    def tokens(self, prompt: Prompt, completion: Completion) -> list[SpanReward]:
        """Reward of every token of a completion, the end-of-text token last (AVA eq. 19).

        Raises:
            InputError: The reward is defined for whole completions only.
        """
        ((text, continued),) = self.texts([prompt], [completion])
        return self._token_spans(text, continued)

    def sentences(self, prompt: Prompt, completion: Completion) -> list[SpanReward]:
        """Sum of the token rewards in every sentence of a completion; see `by_sentence`.

        Raises:
            InputError: The reward is defined for whole completions only.
        """
        ((text, continued),) = self.texts([prompt], [completion])
        return by_sentence(continued, self._token_spans(text, continued))

    def _token_spans(self, prompt: str, completion: str) -> list[SpanReward]:
        raise InputError(f"{self.name!r} only has rewards of whole completions", field="spans")

    def texts(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[tuple[str, str]]:
        """What the reward reads of prompts and completions; see `score` for the arguments and errors.

        Returns:
            A prompt and a completion for each, which are read as they are.
        """
        for name, given in (("prompts", prompts), ("completions", completions)):
            if isinstance(given, str):
                raise InputError("expected a list of texts or of messages, found a single text", field=name)
            if not hasattr(given, "__len__") or not hasattr(given, "__iter__"):
                raise InputError(f"expected a list of texts or of messages, found {given!r:.60}", field=name)
        if len(prompts) != len(completions):
            raise InputError(f"found {len(prompts)} prompts and {len(completions)} completions")
        template, texts = self.template, list[tuple[str, str]]()
        for number, pair in enumerate(zip(prompts, completions, strict=True), start=1):
            try:
                texts.append(completion_texts(template, *map(_normal, pair)))
            except InputError as error:
                raise InputError(error.message, row=number, field=error.field) from error
        return texts


def by_prompt(texts: Sequence[tuple[str, str]]) -> tuple[list[Decision], list[list[int]]]:
    """Prompts and completions as one decision for each prompt, and the places of its options in ``texts``."""
    places: dict[str, list[int]] = {}
    for i, (prompt, _) in enumerate(texts):
        places.setdefault(prompt, []).append(i)
    decisions = [Decision(prompt, tuple(texts[i][1] for i in own)) for prompt, own in places.items()]
    return decisions, list(places.values())


def in_order(places: Sequence[Sequence[int]], scored: Sequence[OptionRewards]) -> OptionRewards:
    """Rewards of the decisions of `by_prompt`, in the order of its texts."""
    count = sum(map(len, places))
    found = OptionRewards(np.zeros(count), np.zeros(count))
    for own, rewards in zip(places, scored, strict=True):
        found.mean[own], found.sigma[own] = rewards.mean, rewards.sigma
    return found


def template_of(reward: Reward) -> Template:
    """Template of a reward for messages and texts; also for objects that only implement its methods."""
    found: Any = getattr(reward, "template", None)
    if isinstance(found, Template):
        return found
    return Template("custom", render=lambda messages, opens: reward.render(messages, opens))


def _normal(given: str | Messages) -> str | Messages:
    if isinstance(given, str):
        return given
    if not isinstance(given, Sequence):
        raise InputError(f"expected a text or a list of messages, found {given!r:.60}")
    messages = [normal_message(message, number) for number, message in enumerate(given, start=1)]
    return Conversation(messages, arguments_of(given))
