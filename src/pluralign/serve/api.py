"""Requests of OpenAI's API: their validation, and the samples to decode for them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pluralign.core import InputError, SteeringWeights
from pluralign.core.jsonl import is_list
from pluralign.core.splits import seed_for
from pluralign.lm.bos import bos_ids, bos_text
from pluralign.lm.decoding import Decoding
from pluralign.serve.chat import Tools, chat_prompt, continues, messages_of, schema_of, tools_of
from pluralign.serve.errors import Refused
from pluralign.serve.fields import SEEDS, chat_schema, completion_schema, with_suggestions
from pluralign.serve.mixes import Mixes
from pluralign.serve.response_fields import chat_body, response_schema
from pluralign.serve.schema import Schema, check
from pluralign.serve.settings import Limits
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.steer.request_weights import WeightsProvider
from pluralign.steer.requests import Request
from pluralign.steer.token_rules import TokenRules

Kind = Literal["chat", "completions", "responses"]


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
        model: Name of the model as given in the body.
        echo: For each prompt, its tokens with which the answers begin; empty if they begin with none.
        tools: Tools that the answer may call.
        relevance: Factors on the steering weights by relevance; None if the request does not ask for them.
    """

    kind: Kind
    samples: Sequence[Request]
    per_prompt: int = 1
    stream: bool = False
    include_usage: bool = False
    prompt: Any = field(default=None, repr=False)
    model: str = ""
    echo: Sequence[Sequence[int]] = ()
    tools: Tools | None = None
    relevance: Mapping[str, float] | None = None

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
        presets: Steering weights by name, which requests ask for as ``MODEL@NAME``.
        provider: Provider of weights for requests that have a wish or leave the weights to the server.

    Raises:
        InputError: See `Mixes`.
    """

    def __init__(
        self, deployment: PromptEncoder, limits: Limits, weights: SteeringWeights | None = None,
        presets: Mapping[str, SteeringWeights] | None = None, provider: WeightsProvider | None = None,
    ) -> None:  # fmt: skip
        self.deployment, self.limits = deployment, limits
        default = weights or SteeringWeights.uniform(deployment.objectives)
        self.mixes = Mixes(deployment.name, deployment.objectives, default, presets, provider)
        known = tuple(self.mixes.models), deployment.objectives, limits
        self.schemas: dict[Kind, Schema] = {
            "chat": chat_schema(*known),
            "completions": completion_schema(*known),
            "responses": response_schema(*known),
        }
        if provider is not None:
            names = deployment.objectives
            self.schemas = {kind: with_suggestions(own, names) for kind, own in self.schemas.items()}
        """JSON Schemas of the bodies."""

    def parse(self, kind: Kind, body: dict[str, Any]) -> ParsedRequest:
        """Validate a body and make the samples to decode.

        Raises:
            Refused: Status 400 or 404, with a one-line reason.
        """
        if isinstance(model := body.get("model"), str):
            self.mixes.of_model(model)  # before fields that another server may know
        check(body, self.schemas[kind])
        if kind == "responses":
            return self._response(body)
        stream = bool(body.get("stream"))
        if body.get("stream_options") is not None and not stream:
            raise Refused(400, "'stream_options' requires 'stream' to be true", param="stream_options")
        chat = kind == "chat"
        tools = tools_of(self.deployment, body) if chat else None
        prompts = [chat_prompt(self.deployment, body)] if chat else self._prompts(body["prompt"])
        read = [messages_of(body["messages"])] if chat else self._texts(body["prompt"])
        weights = self.mixes.read(body, read)
        per_prompt = int(body.get("n") or 1)
        if len(prompts) * per_prompt > self.limits.answers:
            raise Refused(
                400,
                f"{len(prompts)} prompts times n={per_prompt} exceeds {self.limits.answers} answers",
                param="n",
            )
        seed = body.get("seed")
        first = secrets.randbits(63) if seed is None else int(seed) % (2 * SEEDS)
        seeds = [first, *(seed_for(f"answer {i}", first) for i in range(1, len(prompts) * per_prompt))]
        joined = not chat or continues(body)
        lead = "" if joined else self.deployment.conversations.lead
        alternatives, echo = _alternatives(kind, body), bool(body.get("echo"))
        silent = body.get("max_tokens") == 0
        if silent and not echo:
            raise Refused(400, "'max_tokens' may be 0 with 'echo' only", param="max_tokens")
        rules = _rules(body, schema_of(body) if chat else None)
        samples = [
            Request(
                ids, weights, self._decoding(kind, body, len(ids)), seeds[per_prompt * i + j], lead, rules,
                alternatives, echo and alternatives is not None, joined, silent,
            )
            for i, ids in enumerate(prompts)
            for j in range(per_prompt)
        ]  # fmt: skip
        options: Mapping[str, Any] = body.get("stream_options") or {}
        return ParsedRequest(
            kind, samples, per_prompt, stream, bool(options.get("include_usage")),
            body["messages" if chat else "prompt"], body["model"],
            self._echoed(body["prompt"], prompts) if echo else (), tools,
        )  # fmt: skip

    def _response(self, body: dict[str, Any]) -> ParsedRequest:
        """The chat request that means the same; errors name the fields of the body."""
        try:
            return replace(self.parse("chat", chat_body(body)), kind="responses")
        except Refused as error:
            error.param = {"messages": "input", "max_tokens": "max_output_tokens"}.get(
                error.param or "", error.param
            )
            raise

    def _prompts(self, given: Any) -> list[list[int]]:
        """Token ids of a text, of several texts, or of one or several lists of ids."""
        try:
            return [
                self.deployment.text_ids(prompt) if isinstance(prompt, str)
                else self.deployment.known_ids(prompt)
                for prompt in _several(given)
            ]  # fmt: skip
        except InputError as error:
            raise Refused(400, error.message, param="prompt") from error

    def _echoed(self, given: Any, prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """The tokens of each prompt that are its text as it was given: a BOS that it did not have is none."""
        added, name = bos_ids(self.deployment.tokenizer), bos_text(self.deployment.tokenizer)
        return [
            ids[len(added) :] if isinstance(one, str) and not one.startswith(name) else ids
            for one, ids in zip(_several(given), prompts, strict=True)
        ]

    def _texts(self, given: Any) -> list[str]:
        """The prompts of `_prompts` as texts."""
        tokenizer: Any = self.deployment.tokenizer
        return [one if isinstance(one, str) else str(tokenizer.decode(one)) for one in _several(given)]

    def _decoding(self, kind: Kind, body: dict[str, Any], length: int) -> Decoding:
        """The decoding settings for an answer to a prompt of this many tokens."""
        param = "messages" if kind == "chat" else "prompt"
        if not length:
            raise Refused(400, "the prompt has no tokens", param=param)
        if length > self.limits.prompt_tokens:
            raise _too_long(self.limits.prompt_tokens, f"your {param} resulted in {length} tokens", param)
        stop: str | list[str] = body.get("stop") or []
        return Decoding(
            max_new_tokens=max(1, self._new_tokens(body, length, param)),
            temperature=_number(body, "temperature", 1.0),
            top_p=_number(body, "top_p", 1.0),
            top_k=max(0, int(_number(body, "top_k", 0))),
            min_p=_number(body, "min_p", 0.0),
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
            counts = f"{length} in the {param}, {wanted} in the completion"
            found = f"you requested {length + wanted} tokens ({counts})"
            raise _too_long(context, found, next(iter(given), param))
        return wanted


def _several(given: Any) -> list[Any]:
    """A prompt's texts or lists of token ids."""
    parts: list[Any] = given if is_list(given) and not isinstance(given[0], int | float) else [given]
    # In JSON 8.0 is an integer.
    return [part if isinstance(part, str) else [int(number) for number in part] for part in parts]


def _too_long(most: int, found: str, param: str) -> Refused:
    """The refusal of a prompt in the words by which clients recognise it."""
    return Refused(
        400, f"This model's maximum context length is {most} tokens. However, {found}. Please reduce the "
        "length.", param=param, code="context_length_exceeded",
    )  # fmt: skip


def _alternatives(kind: Kind, body: dict[str, Any]) -> int | None:
    """Number of most likely tokens that are reported at each place; None without log-probabilities."""
    if kind == "completions":
        return None if body.get("logprobs") is None else int(body["logprobs"])
    if body.get("logprobs"):
        return int(_number(body, "top_logprobs", 0))
    if body.get("top_logprobs"):
        raise Refused(400, "'top_logprobs' requires 'logprobs' to be true", param="top_logprobs")
    return None


def _rules(body: dict[str, Any], schema: str | None) -> TokenRules:
    bias: Mapping[str, float] = body.get("logit_bias") or {}
    for name in bias:
        if not name.isascii() or not name.isdigit() or len(name) > 9:
            raise Refused(
                400, f"'logit_bias' has tokens by their ids, found {name[:40]!r}", param="logit_bias"
            )
    return TokenRules(
        _number(body, "presence_penalty", 0.0), _number(body, "frequency_penalty", 0.0),
        tuple((int(token), float(value)) for token, value in bias.items()), schema,
    )  # fmt: skip


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    return default if value is None else value
