"""Characters as JavaScript counts them: those outside of the basic plane, such as emoji, have two halves."""

from __future__ import annotations

import re

_OUTSIDE = re.compile("[\U00010000-\U0010ffff]")
_HALF = re.compile("[\ud800-\udfff]")


def length(letters: str) -> int:
    """Number of characters."""
    return len(letters) if letters.isascii() else len(letters) + len(_OUTSIDE.findall(letters))


def character(letters: str, position: int) -> str:
    """The character at a position, from 0, which may be half of one outside of the basic plane."""
    if letters.isascii():
        return letters[position]
    units = letters.encode("utf-16-le", "surrogatepass")
    return units[2 * position : 2 * position + 2].decode("utf-16-le", "surrogatepass")


def capitalise(letters: str) -> str:
    """The text with its first character in upper case; one outside of the basic plane stays as it is."""
    first = letters[:1]
    return letters if first > "\uffff" else first.upper() + letters[1:]


def whole(letters: str, errors: str = "surrogatepass") -> str:
    """The text with adjacent halves of characters put together.

    Args:
        letters: Text.
        errors: What becomes of a half by itself: ``surrogatepass`` keeps it, ``replace`` makes it U+FFFD.
    """
    if letters.isascii() or _HALF.search(letters) is None:
        return letters
    return letters.encode("utf-16-le", "surrogatepass").decode("utf-16-le", errors)
