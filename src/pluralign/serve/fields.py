"""JSON Schemas of the bodies of OpenAI's requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.serve.schema import Schema
from pluralign.serve.settings import Limits

NULL: Schema = {"type": "null"}
SEEDS = 2**63
"""Seeds are signed 64-bit integers."""
MOST_ALTERNATIVES = 20
"""Maximum number of most likely tokens that a request may ask for at each place."""


def unsupported(*values: Any) -> Schema:
    """Schema of a known field that may be null or have one of these values, which have no effect."""
    return {"enum": [None, *values], "x-unsupported": True}


IGNORED: dict[str, Schema] = {
    "user": {"type": ["string", "null"], "description": "Accepted and ignored."},
    "safety_identifier": {"type": ["string", "null"], "description": "Accepted and ignored."},
    "prompt_cache_key": {"type": ["string", "null"], "description": "Accepted and ignored."},
    "metadata": {"type": ["object", "null"], "description": "Accepted and ignored."},
}
"""Fields without effect."""
_IGNORED_CHAT: dict[str, Schema] = {
    "parallel_tool_calls": {"type": ["boolean", "null"], "description": "Accepted and ignored."},
}
_UNSUPPORTED_CHAT: dict[str, Schema] = {
    "functions": unsupported([]),
    "function_call": unsupported("none"),
    "modalities": unsupported(["text"]),
    "audio": unsupported(),
    "prediction": unsupported(),
    "reasoning_effort": unsupported("none"),
    "verbosity": unsupported(),
    "web_search_options": unsupported(),
    "store": unsupported(False),
    "service_tier": unsupported("auto", "default"),
}
_UNSUPPORTED_COMPLETIONS: dict[str, Schema] = {
    "best_of": unsupported(1),
    "suffix": unsupported(""),
}
_TEXT_PART: Schema = {
    "type": "object",
    "properties": {"type": {"enum": ["text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": NULL,
}
_TEXT: Schema = {"type": ["string", "null"]}
_CALL: Schema = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "type": {"enum": ["function"]},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
            "required": ["name", "arguments"],
        },
    },
    "required": ["function"],
}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {
            "anyOf": [NULL, {"type": "string"}, {"type": "array", "items": _TEXT_PART, "minItems": 1}],
            "description": "Text, or null in a message with calls of tools.",
        },
        "name": _TEXT,
        "tool_calls": {"anyOf": [NULL, {"type": "array", "items": _CALL}]},
        "tool_call_id": _TEXT,
        "reasoning_content": _TEXT,
        "annotations": {
            "anyOf": [NULL, {"type": "array", "items": {"type": "object"}, "minItems": 0, "maxItems": 0}],
            "description": "Empty, as in answers of other servers that are sent back.",
        },
    },
    "required": ["role"],
    "additionalProperties": NULL,
}
_TOOL: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["function"]},
        "function": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "description": _TEXT,
                "parameters": {"type": ["object", "null"]},
                "strict": unsupported(False),
            },
            "required": ["name"],
        },
    },
    "required": ["type", "function"],
}
_FORMAT: Schema = {
    "type": ["object", "null"],
    "description": "JSON Schema that the answer follows; the grammar masks the mixture.",
    "properties": {
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "json_schema": {
            "type": ["object", "null"],
            "properties": {
                "name": _TEXT,
                "description": _TEXT,
                "schema": {"type": ["object", "null"]},
                "strict": {"type": ["boolean", "null"]},
            },
        },
    },
    "required": ["type"],
}
_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31}, "minItems": 1}


def chat_schema(models: Sequence[str], objectives: Sequence[str], limits: Limits) -> Schema:
    """Schema of the body of `/v1/chat/completions`."""
    own: dict[str, Schema] = {
        "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
        "max_completion_tokens": token_limit(limits),
        "logprobs": {"type": ["boolean", "null"], "default": False},
        "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": MOST_ALTERNATIVES},
        "response_format": _FORMAT,
        "tools": {"anyOf": [NULL, {"type": "array", "items": _TOOL}]},
        "tool_choice": {"enum": [None, "none", "auto"]},
        "chat_template_kwargs": {
            "type": ["object", "null"],
            "description": "Further arguments of the chat template.",
            # A template is a program, and tools have a field of their own.
            "properties": {"chat_template": unsupported(), "tools": unsupported()},
        },
        "continue_final_message": {
            "type": ["boolean", "null"],
            "description": "Whether the last message, an assistant's, is the beginning of the answer.",
        },
        "add_generation_prompt": {
            "type": ["boolean", "null"],
            "description": "The opposite of continue_final_message.",
        },
        **_IGNORED_CHAT,
    }
    common = common_fields(models, objectives, limits)
    return body_schema(own | common | _UNSUPPORTED_CHAT, ("model", "messages"))


def completion_schema(models: Sequence[str], objectives: Sequence[str], limits: Limits) -> Schema:
    """Schema of the body of `/v1/completions`."""
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": limits.answers}
    lists = {"type": "array", "items": _IDS, "minItems": 1, "maxItems": limits.answers}
    own: dict[str, Schema] = {
        "prompt": {"anyOf": [{"type": "string"}, texts, _IDS, lists]},
        "logprobs": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": MOST_ALTERNATIVES,
            "description": "Number of most likely tokens at each place.",
        },
        "echo": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Whether the answer begins with the prompt; then logprobs are of its tokens, too.",
        },
    }
    common = common_fields(models, objectives, limits)
    common["max_tokens"] = {**token_limit(limits), "minimum": 0, "description": "0 is for echo alone."}
    return body_schema(own | common | _UNSUPPORTED_COMPLETIONS, ("model", "prompt"))


def weights_schema(objectives: Sequence[str], maximum: float = 1) -> Schema:
    """Schema of steering weights.

    Args:
        objectives: Names of the objectives.
        maximum: Largest weight.
    """
    return {
        "type": ["object", "null"],
        "description": "Weights of the objectives, summing to 1; missing objectives have weight 0.",
        "properties": {name: {"type": "number", "minimum": 0, "maximum": maximum} for name in objectives},
        "additionalProperties": False,
        "minProperties": 1,
        "x-noun": "objective",
    }


def with_suggestions(schema: Schema, objectives: Sequence[str]) -> Schema:
    """A schema of requests for text whose weights may be suggested.

    Args:
        schema: Schema of the body.
        objectives: Names of the objectives.
    """
    wish = {
        **weights_schema(objectives, 1_000_000),
        "description": "What the answer should achieve: importance of each objective, summing to 1; the "
        "server suggests weights. An objective of importance 0 has weight 0.",
    }
    given = schema["properties"]["steering_weights"]
    weights = {
        "anyOf": [{"enum": ["auto"]}, given],
        "description": f'{given["description"]} With "auto" the server suggests weights.',
    }
    return {
        **schema,
        "properties": {**schema["properties"], "steering_weights": weights, "steering_wish": wish},
    }


def body_schema(properties: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    """Schema of a body with these fields and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": NULL,
        "x-noun": "parameter",
    }


def common_fields(models: Sequence[str], objectives: Sequence[str], limits: Limits) -> dict[str, Schema]:
    """Fields that requests for text have in common."""
    stop = {"type": "string", "minLength": 1}
    include = {"include_usage": {"type": ["boolean", "null"]}}
    return {
        "model": {
            "anyOf": [
                {"enum": list(models)},
                {"type": "string", "pattern": f"^{re.escape(models[0])}@[^=,@]+=[0-9.]+(,[^=,@]+=[0-9.]+)*$"},
            ],
            "description": "A listed model, or MODEL@NAME=NUMBER,NAME=NUMBER with steering weights.",
        },
        "steering_weights": weights_schema(objectives, 1_000_000),
        "normalize": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Whether to divide the steering weights by their sum.",
        },
        "steering_relevance": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Whether to multiply the steering weights by what is at stake in the prompt.",
        },
        "max_tokens": token_limit(limits),
        "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 1},
        "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1, "default": 1},
        "top_k": {
            "type": ["integer", "null"],
            "minimum": -1,
            "maximum": 1_000_000,
            "default": 0,
            "description": "0 and -1 keep all tokens.",
        },
        "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 0},
        "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
        "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
        "logit_bias": {
            "type": ["object", "null"],
            "description": "Numbers that are added to the log-probabilities of tokens, by token id.",
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        },
        "stop": {
            "anyOf": [NULL, stop, {"type": "array", "items": stop, "minItems": 0, "maxItems": 4}],
            "description": "Strings at which generation stops.",
        },
        "seed": {"type": ["integer", "null"], "minimum": -SEEDS, "maximum": SEEDS - 1},
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": limits.answers, "default": 1},
        "stream": {"type": ["boolean", "null"], "default": False},
        "stream_options": {"type": ["object", "null"], "properties": include, "additionalProperties": NULL},
        **IGNORED,
    }


def token_limit(limits: Limits) -> Schema:
    """Schema of the maximum number of new tokens."""
    return {"type": ["integer", "null"], "minimum": 1, "maximum": limits.new_tokens}
