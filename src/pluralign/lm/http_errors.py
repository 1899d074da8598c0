"""Errors of HTTP requests, and their messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

_LONGEST_RETRY_AFTER = 120.0


class Refused(Exception):
    """A server refused a request: trying again cannot help.

    Args:
        status: HTTP status.
        reason: The server's message.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Unanswered(Exception):
    """No server answered a request, after all tries; the message is the last error."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the header Retry-After, at most 120; None without one."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, _LONGEST_RETRY_AFTER) if seconds >= 0 else None


def reason_of(content: bytes | bytearray) -> str:
    """The message in a server's answer, on one line."""
    text = content.decode(errors="replace")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return one_line(text)
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]  # pyright: ignore[reportUnknownVariableType]
    return one_line(found if isinstance(found, str) else text)


def cause_of(error: BaseException) -> str:
    """The messages of an error and of its first cause, on one line."""
    first = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    texts = [one_line(str(one)) or type(one).__name__ for one in (error, first)]
    if isinstance(first, OSError) and first.errno:
        texts[1] = os.strerror(first.errno)
    return ": ".join(dict.fromkeys(texts))


def one_line(text: str) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text.split())[:300]
