"""Requests of OpenAI's API: what they may hold, and what is to be decoded for them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jinja2 import TemplateError

from pluralign.core import InputError, SteeringWeights
from pluralign.core.splits import seed_for
from pluralign.serve.errors import Refused
from pluralign.serve.fields import SEEDS, chat_schema, completion_schema
from pluralign.serve.schema import Schema, check
from pluralign.serve.settings import Limits
from pluralign.steer.decoder import Decoding, Request
from pluralign.steer.deployment import Deployment

Kind = Literal["chat", "completions"]


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Args:
        kind: of the API.
        requests: to decode: each prompt's samples, prompt after prompt.
        samples: of each prompt.
        stream: whether the answer comes as it is written.
        include_usage: whether a stream ends with its token counts.
        prompt: as it was given.
    """

    kind: Kind
    requests: Sequence[Request]
    samples: int = 1
    stream: bool = False
    include_usage: bool = False
    prompt: Any = field(default=None, repr=False)

    @property
    def weights(self) -> SteeringWeights:
        """Of all its answers."""
        return self.requests[0].weights

    @property
    def prompt_tokens(self) -> int:
        """Of its prompts, each counted once."""
        return sum(len(request.prompt_ids) for request in self.requests[:: self.samples])


class RequestReader:
    """Reads bodies of requests.

    Args:
        deployment: what is served.
        limits: how much a request may ask.
        weights: of a request that does not say; uniform by default.

    Raises:
        InputError: weights of an objective that is not served.
    """

    def __init__(
        self, deployment: Deployment, limits: Limits, weights: SteeringWeights | None = None
    ) -> None:
        self.deployment, self.limits = deployment, limits
        self.weights = weights or SteeringWeights.uniform(deployment.objectives)
        self.weights.require_known(deployment.objectives)
        known = deployment.name, deployment.objectives, limits
        self.schemas: dict[Kind, Schema] = {
            "chat": chat_schema(*known),
            "completions": completion_schema(*known),
        }
        """Of the bodies."""

    def read(self, kind: Kind, body: dict[str, Any]) -> Asked:
        """Check a body, and make of it what is to be decoded.

        Raises:
            Refused: 400 or 404, with one line that says why.
        """
        model = body.get("model")
        if isinstance(model, str) and model != self.deployment.name:
            raise Refused(
                404, f"no model {model[:80]!r} here; there is {self.deployment.name!r}",
                param="model", code="model_not_found",
            )  # fmt: skip
        check(body, self.schemas[kind])
        stream = bool(body.get("stream"))
        if body.get("stream_options") is not None and not stream:
            raise Refused(400, "'stream_options' needs 'stream' to be true", param="stream_options")
        weights = read_weights(body.get("steering_weights"), self.weights, self.deployment.objectives)
        prompts = self._prompts(kind, body)
        samples = int(body.get("n") or 1)
        if len(prompts) * samples > self.limits.samples:
            raise Refused(
                400,
                f"{len(prompts)} prompts times n={samples} exceed {self.limits.samples} answers",
                param="n",
            )
        seed = body.get("seed")
        first = secrets.randbits(63) if seed is None else int(seed) % (2 * SEEDS)
        seeds = [first, *(seed_for(f"answer {i}", first) for i in range(1, len(prompts) * samples))]
        requests = [
            Request(ids, weights, self._decoding(kind, body, len(ids), seeds[samples * i + j]))
            for i, ids in enumerate(prompts)
            for j in range(samples)
        ]
        options = body.get("stream_options") or {}
        prompt = body["messages" if kind == "chat" else "prompt"]
        return Asked(kind, requests, samples, stream, bool(options.get("include_usage")), prompt)

    def _prompts(self, kind: Kind, body: dict[str, Any]) -> list[list[int]]:
        if kind == "chat":
            try:
                return [self.deployment.chat_ids([_message(message) for message in body["messages"]])]
            except TemplateError as error:
                raise Refused(
                    400, f"the chat does not fit the template: {error}", param="messages"
                ) from error
        texts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
        return [self.deployment.text_ids(text) for text in texts]

    def _decoding(self, kind: Kind, body: dict[str, Any], length: int, seed: int) -> Decoding:
        """How an answer to a prompt of this length is written."""
        param = "messages" if kind == "chat" else "prompt"
        if not length:
            raise Refused(400, "the prompt has no token", param=param)
        if length > self.limits.prompt_tokens:
            raise Refused(
                400, f"the prompt has {length} tokens; at most {self.limits.prompt_tokens} are read",
                param=param, code="context_length_exceeded",
            )  # fmt: skip
        stop = body.get("stop") or []
        return Decoding(
            max_new_tokens=self._new_tokens(body, length, param),
            temperature=_number(body, "temperature", 1.0),
            top_p=_number(body, "top_p", 1.0),
            top_k=int(_number(body, "top_k", 0)),
            stop=(
                *([stop] if isinstance(stop, str) else stop),
                *(self.deployment.stops if kind == "chat" else ()),
            ),
            seed=seed,
        )

    def _new_tokens(self, body: dict[str, Any], length: int, param: str) -> int:
        given = {
            name: int(body[name])
            for name in ("max_tokens", "max_completion_tokens")
            if body.get(name) is not None
        }
        if len(set(given.values())) > 1:
            raise Refused(400, f"two limits that differ: {given}", param="max_tokens")
        context = self.deployment.context
        context = context if context is not None else length + self.limits.new_tokens
        room = context - length
        usual = min(self.limits.default_new_tokens, self.limits.new_tokens, max(room, 1))
        wanted = next(iter(given.values()), usual)
        if wanted > room:
            raise Refused(
                400, f"{length} prompt tokens and {wanted} new ones exceed the context of {context}",
                param=next(iter(given), param), code="context_length_exceeded",
            )  # fmt: skip
        return wanted


def read_weights(given: Any, default: SteeringWeights, objectives: Sequence[str]) -> SteeringWeights:
    """The weights of a request that fit the schema.

    Raises:
        Refused: they do not sum to 1.
    """
    if given is None:
        return default
    try:
        weights = SteeringWeights(given)
        weights.require_known(objectives)
    except InputError as error:
        raise Refused(
            400, error.message, param="steering_weights", code="invalid_steering_weights"
        ) from error
    return weights


def _message(given: dict[str, Any]) -> dict[str, str]:
    role = "system" if given["role"] == "developer" else str(given["role"])
    content = given["content"]
    return {
        "role": role,
        "content": content if isinstance(content, str) else "".join(p["text"] for p in content),
    }


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    return default if value is None else value
