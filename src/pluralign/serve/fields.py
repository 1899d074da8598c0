"""JSON Schemas of the bodies of OpenAI's requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.serve.schema import Schema
from pluralign.serve.settings import Limits

NULL: Schema = {"type": "null"}
SEEDS = 2**63
"""Seeds are signed 64-bit integers."""


def _only(*values: Any) -> Schema:
    return {"enum": [None, *values], "x-unsupported": True}


_IGNORED: dict[str, Schema] = {
    "user": {"type": ["string", "null"], "description": "Accepted and ignored."},
    "safety_identifier": {"type": ["string", "null"], "description": "Accepted and ignored."},
    "prompt_cache_key": {"type": ["string", "null"], "description": "Accepted and ignored."},
    "metadata": {"type": ["object", "null"], "description": "Accepted and ignored."},
}
_UNSUPPORTED: dict[str, Schema] = {
    "frequency_penalty": _only(0),
    "presence_penalty": _only(0),
    "logit_bias": _only({}),
}
_UNSUPPORTED_CHAT: dict[str, Schema] = {
    "logprobs": _only(False),
    "top_logprobs": _only(),
    "tools": _only([]),
    "tool_choice": _only("none", "auto"),
    "parallel_tool_calls": _only(True, False),
    "functions": _only([]),
    "function_call": _only("none"),
    "response_format": _only({"type": "text"}),
    "modalities": _only(["text"]),
    "audio": _only(),
    "prediction": _only(),
    "reasoning_effort": _only("none"),
    "verbosity": _only(),
    "web_search_options": _only(),
    "store": _only(False),
    "service_tier": _only("auto", "default"),
}
_UNSUPPORTED_COMPLETIONS: dict[str, Schema] = {
    "logprobs": _only(),
    "best_of": _only(1),
    "echo": _only(False),
    "suffix": _only(""),
}
_TEXT_PART: Schema = {
    "type": "object",
    "properties": {"type": {"enum": ["text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": NULL,
}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART, "minItems": 1}]},
    },
    "required": ["role", "content"],
    "additionalProperties": NULL,
}


def chat_schema(name: str, objectives: Sequence[str], limits: Limits) -> Schema:
    """Schema of the body of `/v1/chat/completions`."""
    own: dict[str, Schema] = {
        "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
        "max_completion_tokens": _tokens(limits),
    }
    common = _common(name, objectives, limits)
    return _body(own | common | _UNSUPPORTED_CHAT, ("model", "messages"))


def completion_schema(name: str, objectives: Sequence[str], limits: Limits) -> Schema:
    """Schema of the body of `/v1/completions`."""
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": limits.samples}
    own: dict[str, Schema] = {"prompt": {"anyOf": [{"type": "string"}, texts]}}
    common = _common(name, objectives, limits)
    return _body(own | common | _UNSUPPORTED_COMPLETIONS, ("model", "prompt"))


def weights_schema(objectives: Sequence[str]) -> Schema:
    """Schema of steering weights."""
    return {
        "type": ["object", "null"],
        "description": "Weights of the objectives, summing to 1; missing objectives have weight 0.",
        "properties": {name: {"type": "number", "minimum": 0, "maximum": 1} for name in objectives},
        "additionalProperties": False,
        "minProperties": 1,
        "x-noun": "objective",
    }


def _body(properties: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": NULL,
        "x-noun": "parameter",
    }


def _common(name: str, objectives: Sequence[str], limits: Limits) -> dict[str, Schema]:
    stop = {"type": "string", "minLength": 1}
    include = {"include_usage": {"type": ["boolean", "null"]}}
    return {
        "model": {"enum": [name]},
        "steering_weights": weights_schema(objectives),
        "max_tokens": _tokens(limits),
        "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 1},
        "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1, "default": 1},
        "top_k": {"type": ["integer", "null"], "minimum": 0, "maximum": 1_000_000, "default": 0},
        "stop": {
            "anyOf": [NULL, stop, {"type": "array", "items": stop, "minItems": 0, "maxItems": 4}],
            "description": "Strings at which generation stops.",
        },
        "seed": {"type": ["integer", "null"], "minimum": -SEEDS, "maximum": SEEDS - 1},
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": limits.samples, "default": 1},
        "stream": {"type": ["boolean", "null"], "default": False},
        "stream_options": {"type": ["object", "null"], "properties": include, "additionalProperties": NULL},
        **_IGNORED,
        **_UNSUPPORTED,
    }


def _tokens(limits: Limits) -> Schema:
    return {"type": ["integer", "null"], "minimum": 1, "maximum": limits.new_tokens}
