"""Answers in the form of OpenAI's API, each with the weights that made it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pluralign.serve.api import Asked, Kind
from pluralign.steer.decoder import Event

_IDS = {"chat": "chatcmpl-", "completions": "cmpl-"}
_WHOLE = {"chat": "chat.completion", "completions": "text_completion"}
_PART = {"chat": "chat.completion.chunk", "completions": "text_completion"}
DONE = "data: [DONE]\n\n"


def new_id(kind: Kind) -> str:
    """A name for a request and its answer."""
    return _IDS[kind] + secrets.token_hex(12)


@dataclass
class Answer:
    """What is written so far for a request.

    Args:
        id: its name.
        model: the deployment's.
        asked: what was asked.
        weights: of all objectives, as answers carry them.
    """

    id: str
    model: str
    asked: Asked
    weights: Mapping[str, float]
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        count = len(self.asked.requests)
        self.texts: list[str] = [""] * count
        self.tokens = [0] * count
        self.finish_reasons: list[str | None] = [None] * count

    def add(self, place: int, event: Event) -> None:
        """Take up what was written."""
        self.texts[place] += event.text
        self.tokens[place] = event.tokens
        self.finish_reasons[place] = event.finish_reason

    def usage(self) -> dict[str, int]:
        """Counts of tokens."""
        prompt, completion = self.asked.prompt_tokens, sum(self.tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def whole(self) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        choices = [
            {
                "index": i,
                **self._text(text),
                "logprobs": None,
                "finish_reason": self.finish_reasons[i],
            }
            for i, text in enumerate(self.texts)
        ]
        return {**self._head(_WHOLE), "choices": choices, "usage": self.usage()}

    def opening(self) -> Sequence[str]:
        """What a stream begins with."""
        if self.asked.kind != "chat":
            return ()
        delta = {"role": "assistant", "content": ""}
        return [self._chunk(i, {"delta": delta}, None) for i in range(len(self.texts))]

    def part(self, place: int, event: Event) -> Sequence[str]:
        """What a stream says of an event: nothing while there is no new text."""
        chunks: list[str] = []
        if event.text:
            content = (
                {"delta": {"content": event.text}} if self.asked.kind == "chat" else {"text": event.text}
            )
            chunks.append(self._chunk(place, content, None))
        if event.finish_reason is not None:
            content = {"delta": {}} if self.asked.kind == "chat" else {"text": ""}
            chunks.append(self._chunk(place, content, event.finish_reason))
        return chunks

    def closing(self) -> Sequence[str]:
        """What a stream ends with."""
        if not self.asked.include_usage:
            return [DONE]
        return [sse({**self._head(_PART), "choices": [], "usage": self.usage()}), DONE]

    def _text(self, text: str) -> dict[str, Any]:
        if self.asked.kind == "chat":
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"text": text}

    def _chunk(self, place: int, content: Mapping[str, Any], finish_reason: str | None) -> str:
        choice = {"index": place, **content, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.asked.include_usage else {}
        return sse({**self._head(_PART), "choices": [choice], **usage})

    def _head(self, kinds: Mapping[str, str]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kinds[self.asked.kind],
            "created": self.created,
            "model": self.model,
            "steering_weights": dict(self.weights),
        }


def sse(value: Mapping[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
