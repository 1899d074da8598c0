"""Answers in the format of OpenAI's API, each with the weights that produced it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pluralign.serve.api import Kind, ParsedRequest
from pluralign.steer.requests import Event

_IDS = {"chat": "chatcmpl-", "completions": "cmpl-"}
_WHOLE = {"chat": "chat.completion", "completions": "text_completion"}
_PART = {"chat": "chat.completion.chunk", "completions": "text_completion"}
DONE = "data: [DONE]\n\n"


def new_id(kind: Kind) -> str:
    """A new id for a request and its answer."""
    return _IDS[kind] + secrets.token_hex(12)


@dataclass
class Answer:
    """The text written so far for a request.

    Args:
        id: Id of the request and its answer.
        model: Name of the deployment.
        request: The request that is answered.
        weights: Weight of every objective, as reported in the answer.
        created: Unix time of the request, in seconds.
    """

    id: str
    model: str
    request: ParsedRequest
    weights: Mapping[str, float]
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        count = len(self.request.samples)
        self.texts: list[str] = [""] * count
        self.tokens = [0] * count
        self.finish_reasons: list[str | None] = [None] * count

    def add(self, place: int, event: Event) -> None:
        """Append the text of an event to the sample at this place."""
        self.texts[place] += event.text
        self.tokens[place] = event.tokens
        self.finish_reasons[place] = event.finish_reason

    def usage(self) -> dict[str, int]:
        """Token counts, as OpenAI's API reports them."""
        prompt, completion = self.request.prompt_tokens, sum(self.tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
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
        """The first chunks of a stream."""
        if self.request.kind != "chat":
            return ()
        delta = {"role": "assistant", "content": ""}
        return [self._chunk(i, {"delta": delta}, None) for i in range(len(self.texts))]

    def part(self, place: int, event: Event) -> Sequence[str]:
        """The chunks for one event of a stream; none without new text."""
        chunks: list[str] = []
        if event.text:
            content = (
                {"delta": {"content": event.text}} if self.request.kind == "chat" else {"text": event.text}
            )
            chunks.append(self._chunk(place, content, None))
        if event.finish_reason is not None:
            content = {"delta": {}} if self.request.kind == "chat" else {"text": ""}
            chunks.append(self._chunk(place, content, event.finish_reason))
        return chunks

    def closing(self) -> Sequence[str]:
        """The last chunks of a stream."""
        if not self.request.include_usage:
            return [DONE]
        return [sse({**self._head(_PART), "choices": [], "usage": self.usage()}), DONE]

    def _text(self, text: str) -> dict[str, Any]:
        if self.request.kind == "chat":
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"text": text}

    def _chunk(self, place: int, content: Mapping[str, Any], finish_reason: str | None) -> str:
        choice = {"index": place, **content, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.request.include_usage else {}
        return sse({**self._head(_PART), "choices": [choice], **usage})

    def _head(self, kinds: Mapping[str, str]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kinds[self.request.kind],
            "created": self.created,
            "model": self.model,
            "steering_weights": dict(self.weights),
        }


def sse(value: Mapping[str, Any]) -> str:
    """Format a value as a server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
