"""Conversations in requests: messages, tools, and the form of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import is_list
from pluralign.core.messages import Conversation, Message, Messages
from pluralign.lm.grammar import ANY_OBJECT, schema_text
from pluralign.serve.errors import Refused
from pluralign.serve.tool_calls import CallFormat, format_of
from pluralign.steer.prompt_encoder import PromptEncoder


@dataclass(frozen=True)
class Tools:
    """Tools that an answer may call.

    Args:
        names: Names of the tools.
        format: How the model writes calls.
    """

    names: tuple[str, ...]
    format: CallFormat


def chat_prompt(deployment: PromptEncoder, body: Mapping[str, Any]) -> list[int]:
    """Token ids of a request's conversation, up to the start of the answer or to the end of its beginning.

    Raises:
        Refused: The template refuses the messages, or the last one cannot be continued.
    """
    arguments: dict[str, Any] = dict(body.get("chat_template_kwargs") or {})
    if tools := body.get("tools"):
        arguments["tools"] = [_without_nulls(tool) for tool in tools]
    messages = Conversation(messages_of(body["messages"]), arguments)
    try:
        if continues(body):
            return deployment.chat_ids(*_split(messages, arguments))
        return deployment.chat_ids(messages)
    except InputError as error:
        raise Refused(400, error.message, param="messages") from error


def messages_of(given: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages of a request as models read them: each content one text, nothing that is null, and what a
    developer says as the system's.

    Raises:
        Refused: A message has neither content nor calls of tools.
    """
    return [_message(one, place) for place, one in enumerate(given)]


def tools_of(deployment: PromptEncoder, body: Mapping[str, Any]) -> Tools | None:
    """The tools that the answer to a request may call; None for an answer of text.

    Raises:
        Refused: The model's template has no tools, or the request wants calls in a JSON Schema.
    """
    tools = body.get("tools")
    if not tools:
        return None
    if schema_of(body) is not None:
        raise Refused(400, "'tools' and 'response_format' cannot be combined", param="response_format")
    template: Any = deployment.tokenizer
    source = template.get_chat_template(tools=tools) if deployment.template == "chat" else ""
    kind = format_of(source)
    return None if body.get("tool_choice") == "none" else Tools(_names(tools), kind)


def schema_of(body: Mapping[str, Any]) -> str | None:
    """The JSON Schema that the answer to a request follows, as JSON; None for any text.

    Raises:
        Refused: The format lacks its schema.
    """
    given: Mapping[str, Any] = body.get("response_format") or {"type": "text"}
    if given["type"] == "text":
        return None
    if given["type"] == "json_object":
        return schema_text(ANY_OBJECT)
    named: Mapping[str, Any] = given.get("json_schema") or {}
    schema = named.get("schema")
    if schema is None:
        field = "response_format.json_schema.schema"
        raise Refused(400, f"'{field}' is missing", param=field)
    return schema_text(schema)


def continues(body: Mapping[str, Any]) -> bool:
    """Whether the last message of a request is the beginning of its answer.

    Raises:
        Refused: The request's two fields for this contradict each other.
    """
    asked, opens = body.get("continue_final_message"), body.get("add_generation_prompt")
    if asked is not None and asked == opens:
        raise Refused(
            400, "'continue_final_message' and 'add_generation_prompt' exclude each other",
            param="continue_final_message",
        )  # fmt: skip
    return bool(asked) if opens is None else not opens


def _split(messages: Messages, arguments: Mapping[str, Any]) -> tuple[Messages, str]:
    """The messages before the last one, and its text."""
    last = messages[-1]
    if last["role"] != "assistant" or not last["content"] or len(last) > 2 or len(messages) < 2:
        raise Refused(
            400, "only the text of an assistant's message after others can be continued", param="messages"
        )
    return Conversation(messages[:-1], arguments), last["content"]


def _message(given: Mapping[str, Any], place: int) -> dict[str, Any]:
    message = _without_nulls(given)
    message.pop("annotations", None)
    message["role"] = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    if is_list(content):
        content = "".join(part["text"] for part in content)
    if content is None and not message.get("tool_calls"):
        raise Refused(400, f"'messages[{place}].content' is missing", param=f"messages[{place}].content")
    return {**message, "content": content}


def _without_nulls(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _names(tools: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(tool["function"]["name"]) for tool in tools)
