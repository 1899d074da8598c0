"""Rewards of an answer, by objective."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch

from pluralign.core import Decision, InputError
from pluralign.core.errors import CodeError, ServerError
from pluralign.core.messages import Messages
from pluralign.rewards.reward import Reward, template_of
from pluralign.serve.errors import Refused
from pluralign.serve.schema import Schema, check
from pluralign.serve.turns import Turns

_log = logging.getLogger(__name__)

_TEXT = {"type": "string"}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "prompt": _TEXT,
        "answer": _TEXT,
        "history": {
            "type": "array",
            "description": "Messages before the prompt.",
            "items": {
                "type": "object",
                "properties": {"role": {"enum": ["system", "user", "assistant"]}, "content": _TEXT},
                "required": ["role", "content"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["prompt", "answer"],
    "additionalProperties": False,
}
"""Schema of the body of `/pluralign/rewards`: a user's message, the answer to it, and earlier messages."""


class AnswerScorers:
    """Reward models that score answers for the page, one at a time.

    Args:
        scorers: Reward models by objective.
        most_characters: Maximum length of prompt, answer and earlier messages together.
    """

    def __init__(self, scorers: Mapping[str, Reward], most_characters: int = 50_000) -> None:
        self._scorers = dict(scorers)
        self._most = most_characters
        self._turns = Turns("answers to score")

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives that have a reward model."""
        return tuple(self._scorers)

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response of `/pluralign/rewards` to a body.

        Raises:
            Refused: The body is invalid, too many requests are waiting, or the server of a reward fails.
        """
        check(body, SCHEMA)
        prompt = [*body.get("history", ()), {"role": "user", "content": body["prompt"]}]
        if sum(len(message["content"]) for message in prompt) + len(body["answer"]) > self._most:
            raise Refused(400, f"prompt and answer have more than {self._most} characters", param="answer")
        try:
            return {"rewards": await self._turns.take(lambda: self._score(prompt, body["answer"]))}
        except InputError as error:
            raise Refused(400, error.message, param="prompt") from error

    @torch.inference_mode()
    def _score(self, prompt: Messages, answer: str) -> dict[str, dict[str, float | None]]:
        found: dict[str, dict[str, float | None]] = {}
        for name, scorer in self._scorers.items():
            template = template_of(scorer)
            text = template(prompt, True)
            try:
                (rewards,) = scorer.score_decisions([Decision(text, (template.answer(answer),))])
            except ServerError as error:
                # The message has addresses, which are not for clients.
                _log.error("the reward '%s': %s", name, error.message)
                message = f"the server of the reward '{name}' does not answer as expected; try again later"
                raise Refused(502, message, code="reward_unavailable") from error
            except CodeError as error:
                # The message has lines of the operator's code.
                _log.error("the reward '%s': %s", name, error.message)
                message = f"the reward '{name}' could not be computed"
                raise Refused(500, message, code="reward_unavailable") from error
            found[name] = {"reward": _finite(rewards.mean[0]), "sigma": _finite(rewards.sigma[0])}
        return found


def _finite(value: float) -> float | None:
    """None for NaN and infinities, which JSON lacks."""
    return float(value) if math.isfinite(value) else None
