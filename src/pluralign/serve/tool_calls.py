"""Calls of tools in the texts that models write, as their chat templates ask for them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from pluralign.serve.errors import Refused

CallFormat = Literal["tags", "object"]
"""How a model writes calls: JSON objects in ``<tool_call>`` tags, or one JSON object as the whole answer."""

_OPENS, _CLOSES = "<tool_call>", "</tool_call>"


def format_of(template: str) -> CallFormat:
    """The format of calls that a chat template asks for.

    Raises:
        Refused: The template takes no tools, or asks for a format that is not known.
    """
    if "tools" in template:
        if _OPENS in template:
            return "tags"
        if '"parameters"' in template and '"name"' in template:
            return "object"
    reason = "asks for calls in an unknown format" if "tools" in template else "takes no tools"
    raise Refused(400, f"this model's chat template {reason}", param="tools", code="unsupported_parameter")


class ToolText:
    """A text in which calls of tools are found while it is written.

    Args:
        kind: Format of the calls.
        names: Names of the tools.
    """

    def __init__(self, kind: CallFormat, names: Sequence[str]) -> None:
        self._kind, self._names = kind, frozenset(names)
        self._text, self._given = "", 0

    def add(self, text: str) -> str:
        """Append text; return what is certainly not part of a call."""
        self._text += text
        if self._kind == "object":
            end = 0 if self._text.lstrip()[:1] in ("", "{") else len(self._text)
        else:
            found = self._text.find(_OPENS)
            end = len(self._text) - _overlap(self._text, _OPENS) if found < 0 else found
        new = self._text[self._given : max(self._given, end)]
        self._given += len(new)
        return new

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """The rest of the text that is no call, and the calls, in OpenAI's format.

        A text that looks like a call and is none (broken JSON, an unknown tool) is text. White space after a
        call is part of its form.
        """
        rest = self._text[self._given :]
        calls = [_call(text, self._names) for text in self._candidates()]
        found = [call for call in calls if call is not None]
        if not found or len(found) < len(calls):
            return rest, []
        after = [part.partition(_CLOSES)[2] for part in self._parts()]
        return "".join(text for text in after if text.strip()), found

    def _candidates(self) -> list[str]:
        if self._kind == "object":
            return [self._text] if self._text.lstrip().startswith("{") else []
        return [part.partition(_CLOSES)[0] for part in self._parts()]

    def _parts(self) -> list[str]:
        """The text after each tag that opens a call, up to the next one."""
        return [] if self._kind == "object" else self._text.split(_OPENS)[1:]


def _call(text: str, names: frozenset[str]) -> dict[str, Any] | None:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, Mapping):
        return None
    call = cast("Mapping[str, Any]", given)
    arguments = call.get("arguments", call.get("parameters", {}))
    if call.get("name") not in names or not isinstance(arguments, Mapping):
        return None
    text = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call["name"], "arguments": text},
    }


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of a text with which a mark begins."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:n])), 0)
