"""Bodies of requests to the Responses API, and the chat requests that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.serve.errors import Refused
from pluralign.serve.fields import IGNORED, NULL, body_schema, common_fields, token_limit, unsupported
from pluralign.serve.schema import Schema
from pluralign.serve.settings import Limits

_TEXT: Schema = {"type": ["string", "null"]}
_PART: Schema = {
    "type": "object",
    "properties": {"type": {"enum": ["input_text", "output_text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_ITEM: Schema = {
    "type": "object",
    "description": "A message, a call of a tool, or a tool's output.",
    "properties": {
        "type": {"enum": ["message", "function_call", "function_call_output"]},
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART, "minItems": 1}]},
        "call_id": {"type": "string"},
        "name": {"type": "string"},
        "arguments": {"type": "string"},
        "output": {"type": "string"},
        "id": _TEXT,
        "status": _TEXT,
    },
    "additionalProperties": NULL,
}
_NEEDED = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
_TOOL: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["function"]},
        "name": {"type": "string", "minLength": 1},
        "description": _TEXT,
        "parameters": {"type": ["object", "null"]},
        "strict": unsupported(False),
    },
    "required": ["type", "name"],
    "additionalProperties": NULL,
}
_FORMAT: Schema = {
    "type": ["object", "null"],
    "properties": {
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "name": _TEXT,
        "description": _TEXT,
        "schema": {"type": ["object", "null"]},
        "strict": {"type": ["boolean", "null"]},
    },
    "required": ["type"],
    "additionalProperties": NULL,
}
_SHARED = (
    "model", "steering_weights", "normalize", "steering_relevance", "temperature", "top_p", "top_k", "min_p",
    "seed", "stop", "stream", *IGNORED,
)  # fmt: skip
_UNSUPPORTED: dict[str, Schema] = {
    "background": unsupported(False),
    "context_management": unsupported([]),
    "conversation": unsupported(),
    "include": unsupported([]),
    "max_tool_calls": unsupported(),
    "previous_response_id": unsupported(),
    "prompt": unsupported(),
    "reasoning": unsupported(),
    "service_tier": unsupported("auto", "default"),
    "store": unsupported(False),
    "top_logprobs": unsupported(0),
    "truncation": unsupported("disabled"),
}


def response_schema(models: Sequence[str], objectives: Sequence[str], limits: Limits) -> Schema:
    """Schema of the body of `/v1/responses`."""
    common = common_fields(models, objectives, limits)
    own: dict[str, Schema] = {
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": _ITEM, "minItems": 1}]},
        "instructions": {"type": ["string", "null"], "description": "System prompt."},
        "max_output_tokens": token_limit(limits),
        "text": {
            "type": ["object", "null"],
            "properties": {"format": _FORMAT, "verbosity": unsupported()},
            "additionalProperties": NULL,
        },
        "tools": {"anyOf": [NULL, {"type": "array", "items": _TOOL}]},
        "tool_choice": {"enum": [None, "none", "auto"]},
        "parallel_tool_calls": {"type": ["boolean", "null"], "description": "Accepted and ignored."},
        "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_obfuscation": {"type": ["boolean", "null"]}},
            "additionalProperties": NULL,
        },
    }
    shared = {name: common[name] for name in _SHARED}
    return body_schema(own | shared | _UNSUPPORTED, ("model", "input"))


def chat_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that means the same as a body that has passed the schema.

    Raises:
        Refused: An item of the input lacks a field.
    """
    given: str | Sequence[Mapping[str, Any]] = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages = [_message(item, place) for place, item in enumerate(items)]
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    found = {name: body[name] for name in (*_SHARED, "steering_wish") if name in body}
    found |= {"messages": _joined(messages), "max_tokens": body.get("max_output_tokens")}
    if tools := body.get("tools"):
        found["tools"] = [
            {"type": "function", "function": {name: own for name, own in tool.items() if name != "type"}}
            for tool in tools
        ]
        found["tool_choice"] = body.get("tool_choice")
    if (form := text_format(body)) is not None:
        schema = {"json_schema": {**form, "type": None}} if form["type"] == "json_schema" else {}
        found["response_format"] = {"type": form["type"], **schema}
    return found


def text_format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The format of the answer that a body asks for; None without any."""
    text: Mapping[str, Any] | None = body.get("text")
    return None if text is None else text.get("format")


def _message(item: Mapping[str, Any], place: int) -> dict[str, Any]:
    kind = item.get("type", "message")
    for name in _NEEDED[kind]:
        if name not in item:
            field = f"input[{place}].{name}"
            raise Refused(400, f"'{field}' is missing", param=field)
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
    if kind == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    content: str | Sequence[Mapping[str, str]] = item["content"]
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    return {"role": item["role"], "content": text}


def _joined(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in which a text and the calls that follow it are one message, as chat templates expect it."""
    found: list[dict[str, Any]] = []
    for message in messages:
        before = found[-1] if found else {}
        if "tool_calls" in message and before.get("role") == "assistant":
            calls: Sequence[Any] = before.get("tool_calls", ())
            found[-1] = {**before, "tool_calls": [*calls, *message["tool_calls"]]}
        else:
            found.append(message)
    return found
