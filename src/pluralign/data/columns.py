"""Columns of a row with conversations: messages, a system message, tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pluralign.core import InputError
from pluralign.core.message_fields import OTHER_MEDIA, UNREAD, normal_message, without_gaps
from pluralign.core.messages import (
    Conversation,
    Message,
    Messages,
    arguments_of,
    require_characters,
)
from pluralign.data.source import Row

Content = str | Messages
"""A text, or messages."""


class FieldError(ValueError):
    """An invalid field of a row; `Table.error` adds the row's position."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def read_content(row: Row, field: str, *, begins: bool = True) -> Content:
    """Text or messages of a column.

    Args:
        row: Row.
        field: Name of the column.
        begins: Whether the conversation begins with this column, so that the row's system message and tools
            belong to it.

    Raises:
        FieldError: The column is missing or invalid, or is a text although the row has columns that require
            messages.
    """
    value = row.get(field)
    if value is None:
        raise FieldError(field, "is missing")
    if begins:
        _require_read(row)
    if isinstance(value, str):
        require_text(value, field)
        for name in ("system", "tools"):
            if begins and row.get(name):
                raise FieldError(name, f"requires messages, but '{field}' is a text")
        return value
    found = messages_of(value, field)
    return with_columns(row, found) if begins else found


def _require_read(row: Row) -> None:
    for name in UNREAD:
        if row.get(name):
            what = "texts" if name in OTHER_MEDIA else "messages, and tools in the column 'tools'"
            raise FieldError(name, f"is not supported; supported are {what}")


def require_text(text: str, field: str) -> None:
    """Refuse a text with a lone surrogate.

    Raises:
        FieldError: The text has a lone surrogate.
    """
    try:
        require_characters(text)
    except InputError as error:
        raise FieldError(field, error.message) from error


def messages_of(value: Any, field: str) -> list[Message]:
    """Messages of a field, with the fields that are informative for a model (`core.messages.FIELDS`).

    A content that is a list of text parts becomes one text.

    Raises:
        FieldError: The field is invalid or has no message.
    """
    if not isinstance(value, list) or not value:
        raise FieldError(field, f"expected a text or a list of messages, found {value!r:.60}")
    try:
        return [normal_message(one, number) for number, one in enumerate(cast("list[Any]", value), start=1)]
    except InputError as error:
        raise FieldError(field, error.message) from error


def with_columns(row: Row, messages: Messages) -> Messages:
    """Messages with the row's column ``system`` as system message, and with its ``tools``.

    Raises:
        FieldError: A column has another type, or there are two system messages.
    """
    system, arguments = row.get("system"), dict[str, Any]()
    if system:
        if not isinstance(system, str):
            raise FieldError("system", f"expected a text, found {system!r:.60}")
        require_text(system, "system")
        if messages[0]["role"] in ("system", "developer"):
            raise FieldError("system", "the messages already have a system message")
        messages = [{"role": "system", "content": system}, *messages]
    if tools := _tools(row.get("tools")):
        arguments["tools"] = tools
    if options := row.get("chat_template_kwargs"):
        if not isinstance(options, Mapping):
            raise FieldError("chat_template_kwargs", f"expected arguments by name, found {options!r:.60}")
        arguments |= without_gaps(options)
    return Conversation(messages, arguments) if arguments else messages


def _tools(given: Any) -> list[Any]:
    tools = given
    if isinstance(given, str) and given.strip():
        try:
            tools = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise FieldError("tools", f"expected a list of tools, found {given!r:.60}") from error
    if not tools:
        return []
    if not isinstance(tools, list) or not all(isinstance(one, Mapping) for one in cast("list[Any]", tools)):
        raise FieldError("tools", f"expected a list of tools, each a JSON schema, found {given!r:.60}")
    return without_gaps(tools)


def columns_of(messages: Content) -> dict[str, Any]:
    """Columns of a row for its messages' arguments: ``tools``, ``chat_template_kwargs``."""
    arguments = {} if isinstance(messages, str) else arguments_of(messages)
    options = {name: value for name, value in arguments.items() if name != "tools"}
    found = {"tools": arguments["tools"]} if "tools" in arguments else {}
    return {**found, **({"chat_template_kwargs": options} if options else {})}
