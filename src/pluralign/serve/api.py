"""Requests of OpenAI's API: their validation, and the samples to decode for them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pluralign.core import InputError, SteeringWeights
from pluralign.core.splits import seed_for
from pluralign.lm.decoding import Decoding
from pluralign.serve.errors import Refused
from pluralign.serve.fields import SEEDS, chat_schema, completion_schema
from pluralign.serve.schema import Schema, check
from pluralign.serve.settings import Limits
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.steer.requests import Request

Kind = Literal["chat", "completions"]


@dataclass(frozen=True)
class ParsedRequest:
    """A validated request.

    Args:
        kind: API that the request uses.
        samples: Samples to decode: all samples of the first prompt, then of the next, and so on.
        per_prompt: Number of samples of each prompt (OpenAI's ``n``).
        stream: Whether the answer is streamed.
        include_usage: Whether a stream ends with its token counts.
        prompt: Prompt or messages as given in the body.
    """

    kind: Kind
    samples: Sequence[Request]
    per_prompt: int = 1
    stream: bool = False
    include_usage: bool = False
    prompt: Any = field(default=None, repr=False)

    @property
    def weights(self) -> SteeringWeights:
        """Steering weights of all its samples."""
        return self.samples[0].weights

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens in its prompts, each counted once."""
        return sum(len(sample.prompt_ids) for sample in self.samples[:: self.per_prompt])


class RequestParser:
    """Validates bodies of requests.

    Args:
        deployment: The policies that are served.
        limits: Limits of a request.
        weights: Default steering weights, for requests without any; uniform if None.

    Raises:
        InputError: The weights name an objective that is not served.
    """

    def __init__(
        self, deployment: PromptEncoder, limits: Limits, weights: SteeringWeights | None = None
    ) -> None:
        self.deployment, self.limits = deployment, limits
        self.weights = weights or SteeringWeights.uniform(deployment.objectives)
        self.weights.require_known(deployment.objectives)
        known = deployment.name, deployment.objectives, limits
        self.schemas: dict[Kind, Schema] = {
            "chat": chat_schema(*known),
            "completions": completion_schema(*known),
        }
        """JSON Schemas of the bodies."""

    def parse(self, kind: Kind, body: dict[str, Any]) -> ParsedRequest:
        """Validate a body and make the samples to decode.

        Raises:
            Refused: Status 400 or 404, with a one-line reason.
        """
        model = body.get("model")
        if isinstance(model, str) and model != self.deployment.name:
            raise Refused(
                404, f"no model {model[:80]!r}; this server has {self.deployment.name!r}",
                param="model", code="model_not_found",
            )  # fmt: skip
        check(body, self.schemas[kind])
        stream = bool(body.get("stream"))
        if body.get("stream_options") is not None and not stream:
            raise Refused(400, "'stream_options' requires 'stream' to be true", param="stream_options")
        weights = read_weights(body.get("steering_weights"), self.weights, self.deployment.objectives)
        prompts = self._prompts(kind, body)
        per_prompt = int(body.get("n") or 1)
        if len(prompts) * per_prompt > self.limits.samples:
            raise Refused(
                400,
                f"{len(prompts)} prompts times n={per_prompt} exceeds {self.limits.samples} answers",
                param="n",
            )
        seed = body.get("seed")
        first = secrets.randbits(63) if seed is None else int(seed) % (2 * SEEDS)
        seeds = [first, *(seed_for(f"answer {i}", first) for i in range(1, len(prompts) * per_prompt))]
        lead = self.deployment.conversations.lead if kind == "chat" else ""
        samples = [
            Request(ids, weights, self._decoding(kind, body, len(ids)), seeds[per_prompt * i + j], lead)
            for i, ids in enumerate(prompts)
            for j in range(per_prompt)
        ]
        options = body.get("stream_options") or {}
        prompt = body["messages" if kind == "chat" else "prompt"]
        return ParsedRequest(kind, samples, per_prompt, stream, bool(options.get("include_usage")), prompt)

    def _prompts(self, kind: Kind, body: dict[str, Any]) -> list[list[int]]:
        if kind == "chat":
            try:
                return [self.deployment.chat_ids([_message(message) for message in body["messages"]])]
            except InputError as error:
                raise Refused(400, error.message, param="messages") from error
        texts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
        try:
            return [self.deployment.text_ids(text) for text in texts]
        except InputError as error:
            raise Refused(400, error.message, param="prompt") from error

    def _decoding(self, kind: Kind, body: dict[str, Any], length: int) -> Decoding:
        """The decoding settings for an answer to a prompt of this many tokens."""
        param = "messages" if kind == "chat" else "prompt"
        if not length:
            raise Refused(400, "the prompt has no tokens", param=param)
        if length > self.limits.prompt_tokens:
            raise Refused(
                400, f"the prompt has {length} tokens; the limit is {self.limits.prompt_tokens}",
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
        )

    def _new_tokens(self, body: dict[str, Any], length: int, param: str) -> int:
        given = {
            name: int(body[name])
            for name in ("max_tokens", "max_completion_tokens")
            if body.get(name) is not None
        }
        if len(set(given.values())) > 1:
            raise Refused(
                400, f"'max_tokens' and 'max_completion_tokens' differ: {given}", param="max_tokens"
            )
        context = self.deployment.context
        context = context if context is not None else length + self.limits.new_tokens
        room = context - length
        usual = min(self.limits.default_new_tokens, self.limits.new_tokens, max(room, 1))
        wanted = next(iter(given.values()), usual)
        if wanted > room:
            raise Refused(
                400, f"{length} prompt tokens and {wanted} new tokens exceed the context length of {context}",
                param=next(iter(given), param), code="context_length_exceeded",
            )  # fmt: skip
        return wanted


def read_weights(given: Any, default: SteeringWeights, objectives: Sequence[str]) -> SteeringWeights:
    """The steering weights of a request that has passed the schema.

    Raises:
        Refused: The weights do not sum to 1.
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
