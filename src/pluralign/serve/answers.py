"""Answers in the format of OpenAI's API, each with the weights that produced it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pluralign.serve.api import Kind, ParsedRequest
from pluralign.serve.choices import Choice
from pluralign.serve.errors import Refused
from pluralign.serve.log_probs import TokenTexts
from pluralign.steer.requests import Event

_IDS = {"chat": "chatcmpl-", "completions": "cmpl-", "responses": "resp_"}
_WHOLE = {"chat": "chat.completion", "completions": "text_completion"}
_PART = {"chat": "chat.completion.chunk", "completions": "text_completion"}
DONE = "data: [DONE]\n\n"


def new_id(kind: Kind) -> str:
    """A new id for a request and its answer."""
    return _IDS[kind] + secrets.token_hex(12)


class AnswerForm(Protocol):
    """An answer in the format of an API."""

    def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        ...

    def opening(self) -> Sequence[str]:
        """The first chunks of a stream."""
        ...

    def add(self, place: int, event: Event) -> Sequence[str]:
        """Append an event to the sample at this place; the chunks of a stream for it, none without news."""
        ...

    def closing(self) -> Sequence[str]:
        """The last chunks of a stream."""
        ...

    def failed(self, refused: Refused) -> Sequence[str]:
        """The last chunks of a stream that an error ends."""
        ...


@dataclass
class Answer:
    """The text written so far for a request.

    Args:
        id: Id of the request and its answer.
        model: Name of the deployment.
        request: The request that is answered.
        weights: Weight of every objective, as reported in the answer.
        token_texts: Texts of single tokens.
        intervals: 90 % intervals of the weights, if they are inferred ones.
        verdict: Fields that say whether inferred weights decide between the answers, once that is known.
        created: Unix time of the request, in seconds.
    """

    id: str
    model: str
    request: ParsedRequest
    weights: Mapping[str, float]
    token_texts: TokenTexts
    intervals: Mapping[str, Sequence[float]] | None = None
    verdict: Mapping[str, Any] = field(default_factory=dict[str, Any])
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        given = self.request
        self.choices = [
            Choice(given, sample, self.token_texts, given.echo[i // given.per_prompt] if given.echo else ())
            for i, sample in enumerate(given.samples)
        ]

    @property
    def texts(self) -> list[str]:
        """Text of each sample so far."""
        return [choice.text for choice in self.choices]

    @property
    def finish_reasons(self) -> list[str | None]:
        """Why each sample ended; None before its end."""
        return [choice.finish_reason for choice in self.choices]

    @property
    def completion_tokens(self) -> int:
        """Number of tokens that have been generated."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def steering(self) -> dict[str, Any]:
        """The weights that produced it, their intervals if they are inferred ones, and the factors by
        relevance that they contain."""
        intervals = {} if self.intervals is None else {"steering_intervals": dict(self.intervals)}
        factors = self.request.relevance
        relevance = {} if factors is None else {"steering_relevance": dict(factors)}
        return {"steering_weights": dict(self.weights), **intervals, **relevance}

    def usage(self) -> dict[str, int]:
        """Token counts, as OpenAI's API reports them."""
        prompt, completion = self.request.prompt_tokens, self.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        choices = [{"index": i, **choice.whole()} for i, choice in enumerate(self.choices)]
        return {**self._head(_WHOLE), **self.verdict, "choices": choices, "usage": self.usage()}

    def opening(self) -> Sequence[str]:
        """The first chunks of a stream."""
        if self.request.kind != "chat":
            return ()
        delta = {"role": "assistant", "content": ""}
        nothing = {"delta": delta, "logprobs": None, "finish_reason": None}
        return [self._chunk(i, nothing) for i in range(len(self.choices))]

    def add(self, place: int, event: Event) -> Sequence[str]:
        """Append an event to the sample at this place; the chunks of a stream for it, none without news."""
        return [self._chunk(place, part) for part in self.choices[place].add(event)]

    def closing(self) -> Sequence[str]:
        """The last chunks of a stream."""
        if not self.request.include_usage:
            return [DONE]
        return [sse({**self._head(_PART), "choices": [], "usage": self.usage()}), DONE]

    def failed(self, refused: Refused) -> Sequence[str]:
        """The last chunks of a stream that an error ends; OpenAI's client raises the error in the chunk."""
        return [sse(refused.body())]

    def _chunk(self, place: int, content: Mapping[str, Any]) -> str:
        usage = {"usage": None} if self.request.include_usage else {}
        return sse({**self._head(_PART), "choices": [{"index": place, **content}], **usage})

    def _head(self, kinds: Mapping[str, str]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kinds[self.request.kind],
            "created": self.created,
            "model": self.model,
            **self.steering,
        }


def sse(value: Mapping[str, Any]) -> str:
    """Format a value as a server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
