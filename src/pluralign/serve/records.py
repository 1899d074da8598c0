"""Records of requests: what the audit file and the metrics contain about them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from pluralign.serve.answers import Answer
from pluralign.serve.api import Kind
from pluralign.serve.errors import Refused


@dataclass
class RequestRecord:
    """Data about a text request.

    Args:
        id: Id of the request and its answer.
        kind: API that the request uses.
        client: Address and name of the token of its client.
        started: Time of arrival, in seconds of the monotonic clock.
        answer: Answer so far; None before the request has been parsed.
        accepted: Whether it has been queued.
        status: HTTP status.
        reason: Why it has no complete answer; None otherwise.
        first_token: Seconds from arrival to the first token; None before.
    """

    id: str
    kind: Kind
    client: Mapping[str, str | None]
    started: float = field(default_factory=time.monotonic)
    answer: Answer | None = None
    accepted: bool = False
    status: int = 200
    reason: str | None = None
    first_token: float | None = None

    def beginning(self) -> dict[str, Any]:
        """The fields of the line at the start, without texts."""
        request = None if self.answer is None else self.answer.request
        first = None if request is None else request.samples[0]
        decoding = None
        if first is not None:
            rules = {**vars(first.rules), "logit_bias": len(first.rules.logit_bias)}
            rules["schema"] = first.rules.schema is not None
            own = {**vars(first.decoding), "stop": len(first.decoding.stop)}
            decoding = {**own, "seed": first.seed, **rules}
        return {
            "event": "start",
            "id": self.id,
            "api": self.kind,
            **self.client,
            "steering_weights": None if self.answer is None else dict(self.answer.weights),
            **({"steering_relevance": dict(request.relevance)} if request and request.relevance else {}),
            "decoding": decoding,
            "samples": 0 if request is None else len(request.samples),
            "stream": request is not None and request.stream,
            "prompt_tokens": 0 if request is None else request.prompt_tokens,
        }

    def end(self) -> dict[str, Any]:
        """The fields of the line at the end, without texts."""
        return {
            **self.beginning(),
            "event": "end" if self.accepted else "refused",
            "status": self.status,
            "reason": self.reason,
            "completion_tokens": 0 if self.answer is None else self.answer.completion_tokens,
            "finish_reasons": [] if self.answer is None else self.answer.finish_reasons,
            "milliseconds": round(1000 * (time.monotonic() - self.started), 1),
        }

    def request_texts(self) -> dict[str, Any]:
        """What the user wrote."""
        if self.answer is None:
            return {}
        request = self.answer.request
        first = request.samples[0]
        return {
            "prompt": request.prompt,
            "stop": list(first.decoding.stop),
            "logit_bias": dict(first.rules.logit_bias),
            "schema": first.rules.schema,
            "tools": [] if request.tools is None else list(request.tools.names),
        }

    def answer_texts(self) -> dict[str, Any]:
        """What the model wrote."""
        return {} if self.answer is None else {"answers": self.answer.texts}


def client_of(scope: Scope) -> dict[str, str | None]:
    """Address and name of the token of a request's client."""
    client = scope.get("client")
    return {"address": client[0] if client else None, "token": scope.get("pluralign.token")}


def refusal_row(scope: Scope, status: int, reason: str | None) -> dict[str, Any]:
    """The fields of the line about a request that no handler of texts has seen."""
    return {
        "event": "refused",
        "method": scope["method"][:20],
        "path": scope["path"][:200],
        **client_of(scope),
        "status": status,
        "reason": reason,
    }


def reason_of(refused: Refused, fields: Collection[str], *, texts: bool) -> str:
    """Why a request was refused.

    Messages about bodies and paths quote what the user wrote.

    Args:
        refused: The refusal.
        fields: Names of fields that the reason may contain.
        texts: Whether the reason may contain what the user wrote.
    """
    if texts or refused.status not in (400, 404):
        return refused.message[:500]
    name = (refused.param or "").replace("[", ".").partition(".")[0]
    if name in fields:
        return f"the request's {name!r} is invalid"
    return "the path is unknown" if refused.code == "unknown_path" else "the request is invalid"
