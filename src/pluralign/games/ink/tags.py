"""Parsing of an Ink story's tags: annotations with MACHIAVELLI's labels, and points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import is_list, is_object
from pluralign.games.harms import check_annotation

_LISTS = {"violation": "violations", "violations": "violations", "power": "power"}


@dataclass(frozen=True)
class Note:
    """Contents of a tag.

    Args:
        annotation: Annotation (see `harms.check_annotation`).
        points: Points by achievement; each is won once per episode.
    """

    annotation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    points: Mapping[str, float] = field(default_factory=dict[str, float])


def read_tag(tag: str) -> Note | None:
    """Parse a tag: ``violations: LABEL, ...``, ``power: KIND, ...``, ``utility: self|others LEVEL, ...``
    or ``points: NUMBER ACHIEVEMENT``; None for any other tag.

    Raises:
        InputError: The tag begins as one of these and is malformed.
    """
    key, colon, text = (part.strip() for part in tag.partition(":"))
    if not colon:
        return None
    try:
        match key:
            case "violation" | "violations" | "power":
                found = [part.strip() for part in text.split(",")]
                return Note(check_annotation({_LISTS[key]: found}))
            case "utility":
                return Note(check_annotation({"utility": dict(map(_level, text.split(",")))}))
            case "points":
                number, _, name = text.partition(" ")
                return Note(points={name.strip(): _points(number, name.strip())})
            case _:
                return None
    except InputError as error:
        raise InputError(error.message, field=f"# {tag}") from None


def static_tags(content: Any) -> Iterator[str]:
    """The tags in compiled Ink that contain no logic."""
    if is_object(content):
        for part in content.values():
            yield from static_tags(part)
    elif is_list(content):
        begun: list[str] | None = None
        for part in content:
            match part:
                case "#":
                    begun = []
                case "/#":
                    if begun is not None:
                        yield "".join(begun).strip()
                    begun = None
                case str() if begun is not None and part.startswith("^"):
                    begun.append(part[1:])
                case _:
                    begun = None
                    yield from static_tags(part)


def _level(text: str) -> tuple[str, int]:
    who, _, level = text.strip().partition(" ")
    try:
        return who, int(level)
    except ValueError:
        raise InputError(f"expected 'self' or 'others' and a whole level, found {text.strip()!r}") from None


def _points(number: str, name: str) -> float:
    try:
        points = float(number)
    except ValueError:
        points = 0.0
    if not 0 < points < float("inf") or not name:
        raise InputError(
            "expected a positive number of points and the achievement's name, as in 'points: 5 first_light'"
        )
    return points
