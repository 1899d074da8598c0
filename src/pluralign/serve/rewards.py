"""Rewards of an answer, objective by objective."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import torch

from pluralign.core import Decision
from pluralign.rewards import CompletionScorer
from pluralign.serve.errors import Refused
from pluralign.serve.schema import Schema, check

_WAITING = 8
"""Requests that may wait for those before them."""

_TEXT = {"type": "string"}
SCHEMA: Schema = {
    "type": "object",
    "properties": {"prompt": _TEXT, "answer": _TEXT},
    "required": ["prompt", "answer"],
    "additionalProperties": False,
}
"""Of the body of `/pluralign/rewards`: a user's message and the answer to it."""


class Rewards:
    """Reward models that the page asks, one answer at a time.

    Args:
        scorers: by objective.
        most_characters: of prompt and answer together.
    """

    def __init__(self, scorers: Mapping[str, CompletionScorer], most_characters: int = 50_000) -> None:
        self._scorers = dict(scorers)
        self._most = most_characters
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives that have a reward model."""
        return tuple(self._scorers)

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """What `/pluralign/rewards` says to a body.

        Raises:
            Refused: the body does not fit, or too many wait.
        """
        check(body, SCHEMA)
        if len(body["prompt"]) + len(body["answer"]) > self._most:
            raise Refused(400, f"prompt and answer have more than {self._most} characters", param="answer")
        if self._waiting >= _WAITING:
            raise Refused(
                429,
                "too many answers wait for their rewards",
                code="queue_full",
                headers={"Retry-After": "1"},
            )
        self._waiting += 1
        try:
            async with self._turn:
                return {"rewards": await asyncio.to_thread(self._score, body["prompt"], body["answer"])}
        finally:
            self._waiting -= 1

    @torch.inference_mode()
    def _score(self, prompt: str, answer: str) -> dict[str, dict[str, float | None]]:
        found: dict[str, dict[str, float | None]] = {}
        for name, scorer in self._scorers.items():
            text = scorer.render([{"role": "user", "content": prompt}], True)
            (rewards,) = scorer.score([Decision(text, (answer,))])
            found[name] = {"reward": _finite(rewards.mean[0]), "sigma": _finite(rewards.sigma[0])}
        return found


def _finite(value: float) -> float | None:
    """JSON has no other numbers."""
    return float(value) if math.isfinite(value) else None
