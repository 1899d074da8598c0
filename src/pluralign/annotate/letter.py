"""The option that a written reply names."""

from __future__ import annotations

import re

from pluralign.lm.replies import said

_ALONE = re.compile(r"(?:(?:course|option|answer)\W+)?([AB])\b(?=\s*(?:[.):,;\n]|$))", re.IGNORECASE)
_LISTED = re.compile(r"(?:^|[.\n])\W*(?:(?:course|option|answer)\W+)?([AB])(?:\W*:|\s*[.)])", re.IGNORECASE)
_BOTH = re.compile(r"(?:(?:course|option|answer)\W+)?([AB])\W+(?:(?:or|and)\W+)?(?!\1)[AB]\W*", re.IGNORECASE)
_TOLD = re.compile(
    r"\b(?:answer|choice|choose|prefer|better|best)\b(?:\W+(?!than\b|[AB]\b)\w+){0,3}?"
    r"\W+([AB])\b(?!\w|\s+(?:or|and)\b)"
)
_COMPARED = re.compile(
    r"(?<!nor )(?<!or )\b([AB])\s+(?:is|seems|looks|would\s+be)\s+"
    r"(?:(?:much|far|clearly|slightly|somewhat|the)\s+)*(?:better|best|preferable)\b"
)
_COURSE = re.compile(r"\bcourse\W+([AB])\b", re.IGNORECASE)
_CLAUSES = re.compile(r"[.,;!?]|(?<![:\n])\n|\b(?:but|because|since)\b", re.IGNORECASE)
_AGAINST = re.compile(
    r"\b(?:not|cannot|never|neither|nor|hardly|no\s+(?:better|more)|reject|avoid|against)\b"
    r"|\b(?:worse|worst|less|least)\b|n['\u2019]t\b",
    re.IGNORECASE,
)


def parse_letter(reply: str) -> str | None:
    """The option that a reply names, ``A`` or ``B``, or None.

    Thinking is ignored (`said`). In this order, a letter counts if the reply begins with it on its own
    ("B.", "Course B"); if the reply states that it is better ("A is better than B") or chooses it ("I choose
    B"); or if a clause ends with it ("I would go for course B, ..."). Clauses that deny or reject ("not A",
    "A is worse") name none, and "more" names none, as the aim may be to have less. A reply that names both in
    one of these ways names none.
    """
    text = said(reply).replace("*", "").strip(" \t\r\n#\"'`([")
    begins = _ALONE.match(text)
    if begins and not _BOTH.fullmatch(text) and len({letter.upper() for letter in _LISTED.findall(text)}) < 2:
        return begins[1].upper()
    clauses = [clause for clause in _CLAUSES.split(text) if not _AGAINST.search(clause)]
    for named in (
        [letter for clause in clauses for letter in _COMPARED.findall(clause)],
        [letter for clause in clauses for letter in _TOLD.findall(clause)],
        [letter for clause in clauses if _ends(clause) for letter in _COURSE.findall(clause)],
    ):
        letters = {letter.upper() for letter in named}
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def _ends(clause: str) -> bool:
    """Whether a clause ends with an option: what is said about one may be for or against it."""
    return re.search(r"\bcourse\W+[AB]\W*$", clause, re.IGNORECASE) is not None
