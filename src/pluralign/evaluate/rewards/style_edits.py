"""Edits that change a text's style but not its content, to which a reward of content should be invariant.

Each is a pure function of the text, and returns it unchanged if there is nothing to edit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

StyleEdit = Callable[[str], str]

_FINAL = re.compile(r"[.!?…]+(?=[\"'”’)\]]*\s*\Z)")
_OPENS = re.compile(r"(\A|(?<=[\s(\[{—–-]))([\"'])(?=\S)")
_BETWEEN = re.compile(r"([.!?][\"'”’)\]]?) (?=[\"'“‘(\[]?[A-Z])")

_NEGATED = "do|does|did|is|are|was|were|has|have|had|would|could|should|must|need"
_IS = "he|she|it|that|there|what|who|here|where"
_WILL = "i|you|he|she|it|we|they|that|there"
# After a verb that precedes its subject ("Don't you ...?"), the long form would not be correct English.
_NO_SUBJECT = r"(?!\s+(?:i|you|he|she|it|we|they|there|this|that|these|those)\b)"


def _patterns(*pairs: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern, re.IGNORECASE), to) for pattern, to in pairs)


_EXPANSIONS = _patterns(
    (rf"\b(can)['’]t\b{_NO_SUBJECT}", r"\1not"),
    (rf"\b(w)on['’]t\b{_NO_SUBJECT}", r"\1ill not"),
    (rf"\b({_NEGATED})n['’]t\b{_NO_SUBJECT}", r"\1 not"),
    (r"\b(i)['’]m\b", r"\1 am"),
    (r"\b(you|we|they)['’]re\b", r"\1 are"),
    (r"\b(i|you|we|they)['’]ve\b", r"\1 have"),
    (rf"\b({_WILL})['’]ll\b", r"\1 will"),
    (rf"\b({_IS})['’]s\b(?=\s+(?:been|got)\b)", r"\1 has"),
    (rf"\b({_IS})['’]s\b", r"\1 is"),
    (r"\b(let)['’]s\b", r"\1 us"),
)
# Only before another word: "Yes, it is." has no short form.
_CONTRACTIONS = _patterns(
    (r"\b(ca)n ?not\b(?= \w)", r"\1n't"),
    (r"\b(w)ill not\b(?= \w)", r"\1on't"),
    (rf"\b({_NEGATED}) not\b(?= \w)", r"\1n't"),
    (r"\b(i) am\b(?= \w)", r"\1'm"),
    (r"\b(you|we|they) are\b(?= \w)", r"\1're"),
    (r"\b(i|you|we|they) have\b(?= (?:been|had|never|already|just|seen|heard|done|made)\b)", r"\1've"),
    (rf"\b({_WILL}) will\b(?= (?!not\b)\w)", r"\1'll"),
    (r"\b(he|she|it|that|there) is\b(?= \w)", r"\1's"),
)


def lower_case(text: str) -> str:
    """The text in lower case."""
    return text.lower()


def no_final_punctuation(text: str) -> str:
    """The text without its final punctuation mark; quotes and brackets after it stay."""
    return _FINAL.sub("", text)


def curly_quotes(text: str) -> str:
    """Typographic quotation marks and apostrophes instead of straight ones."""
    opened = _OPENS.sub(lambda m: m[1] + ("“" if m[2] == '"' else "‘"), text)
    return opened.replace('"', "”").replace("'", "’")


def no_contractions(text: str) -> str:
    """``do not`` for ``don't`` and similar contractions whose long form is unambiguous."""
    return _replaced(text, _EXPANSIONS)


def contractions(text: str) -> str:
    """``don't`` for ``do not`` and similar common forms."""
    return _replaced(text, _CONTRACTIONS)


def double_spaces(text: str) -> str:
    """Two spaces instead of one between sentences."""
    return _BETWEEN.sub(r"\1  ", text)


def other_leading_space(text: str) -> str:
    """The text without its leading spaces; with one leading space if it has none."""
    bare = text.lstrip(" ")
    return bare if bare != text else f" {text}"


def leading_newline(text: str) -> str:
    """The text with a leading newline."""
    return text if text.startswith("\n") else f"\n{text}"


STYLE_EDITS: Mapping[str, StyleEdit] = MappingProxyType(
    {
        "lower case": lower_case,
        "no final punctuation": no_final_punctuation,
        "curly quotes": curly_quotes,
        "no contractions": no_contractions,
        "contractions": contractions,
        "double spaces": double_spaces,
        "other leading space": other_leading_space,
        "leading newline": leading_newline,
    }
)
"""All edits by their name in reports."""


def _replaced(text: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, to in patterns:
        text = pattern.sub(
            lambda m, to=to: m.expand(to).upper() if m[0].isupper() and len(m[0]) > 1 else m.expand(to), text
        )
    return text
