"""Normalisation of the text that a step shows."""

from __future__ import annotations

import re

from pluralign.games.choicescript.language import letters
from pluralign.games.choicescript.run.questions import DEFAULT_TEXT

ADDED = f"{DEFAULT_TEXT}:%,"
"""Characters that play adds to those of the scenes: the default answer to ``*input_text``, and the signs of
``*stat_chart``."""

# Markup only affects how a text looks.
_MARKUP = re.compile(r"\[/?[bi]\]|\[url=[^\]]*\]|\[/url\]|\[c/\]")
_LINE_BREAK = "[n/]"

_SPACES = re.compile(r"[ \t]+")
_AROUND_BREAKS = re.compile(r" *\n *")
_BREAKS = re.compile(r"\n{3,}")


def clean(raw: str) -> str:
    """The text without markup, with single spaces and at most one blank line between paragraphs."""
    raw = letters.whole(raw, "replace")
    if "[" in raw:
        raw = _MARKUP.sub("", raw).replace(_LINE_BREAK, "\n")
    spaced = _AROUND_BREAKS.sub("\n", _SPACES.sub(" ", raw))
    return _BREAKS.sub("\n\n", spaced).strip()
