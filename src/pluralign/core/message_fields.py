"""Conversion of users' messages to the form that templates expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pluralign.core.errors import InputError
from pluralign.core.messages import FIELDS, Message, require_characters

OTHER_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
UNREAD = (*OTHER_MEDIA, "documents", "functions")
"""Columns of a row, or fields of a message, that affect a conversation but are not supported."""


def normal_message(given: Any, number: int) -> Message:
    """Convert a message: keep the fields that are informative for a model (`FIELDS`), with the content as one
    text.

    A content that is a list of text parts becomes one text; None is kept with tool calls.

    Args:
        given: A mapping with a role, and a content or tool calls.
        number: Number of the message, for error messages.

    Raises:
        InputError: The value is not a message, has parts that are not text or tools of its own, or has a lone
            surrogate.
    """
    message = _mapping(given)
    content = message.get("content")
    if len(message) == 2 and isinstance(content, str) and isinstance(message.get("role"), str):
        require_characters(content)
        return {"role": message["role"], "content": content}
    if other := next((name for name in (*UNREAD, "tools") if message.get(name)), None):
        what = "only text is supported" if other in OTHER_MEDIA else "tools belong to the conversation"
        raise InputError(f"message {number} has the field {other!r}; {what}")
    if isinstance(content, list | tuple):
        content = "".join(_part(part, number) for part in cast("Sequence[Any]", content))
    more = {name: without_gaps(message[name]) for name in FIELDS[2:] if message.get(name)}
    called = content is None and bool(more.keys() & {"tool_calls", "function_call"})
    if not isinstance(message.get("role"), str) or not (called or isinstance(content, str)):
        raise InputError(f"expected messages with a role and a content (or tool calls), found {given!r:.60}")
    for text in (message["role"], content or ""):
        require_characters(text)
    return {"role": message["role"], "content": content, **more}


def _mapping(given: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else dict[str, Any]()


def _part(given: Any, number: int) -> str:
    part = _mapping(given)
    kind = part.get("type", "text" if isinstance(part.get("text"), str) else None)
    if kind != "text" or not isinstance(part.get("text"), str):
        found = f"a part of the type {kind!r}" if kind not in (None, "text") else f"the part {given!r:.60}"
        raise InputError(f"message {number} has {found}; only text is supported")
    return part["text"]


def without_gaps(value: Any) -> Any:
    """A value without the None entries with which data sets fill missing keys of mappings."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {name: without_gaps(one) for name, one in items if one is not None}
    if isinstance(value, list | tuple):
        return [without_gaps(one) for one in cast("Sequence[Any]", value)]
    return value
