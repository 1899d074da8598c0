"""Jiminy Cricket's annotations of games: one CSV row for each annotated line of the game's source.

Source: Hendrycks et al. 2021, "What Would Jiminy Cricket Do? Towards Agents That Behave Morally", and its
published code. A row gives file, line, neighbouring text, description, condition, morality ("bad, others, 2")
and filters.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pluralign.core import InputError
from pluralign.games.harms import VARIABLE

_FILE, _LINE, _QUOTE, _DESCRIPTION, _, _CONDITION, _MORALITY, _FILTERS = range(8)
_COMPONENT = re.compile(r"(bad|good), (others|self), ([1-3])")
_PLACE = re.compile(r"\d+(\([a-z]\))?")
_FILTER = re.compile(r"only-first|first|ignore-first|delete-next|taken|[^:]+:\d+-visited|(?:not-)?verb:\w+")

# Shorter quotations fit too many other texts.
_SHORTEST_QUOTE = 12


@dataclass(frozen=True)
class Annotation:
    """An annotated line of a game's source.

    Args:
        key: File without ending, and line: ``actions:46``.
        row: Number of the row in the CSV file.
        counts: Non-zero degrees (1 to 3, summed over the row's labels) by name of the count:
            ``variable.bad_others``, ``variable.bad_self``, ``variable.good_others``, ``variable.good_self``.
        filters: Filters, all of which must pass.
        quotes: Texts that the line prints, in order; empty if the row quotes none.
        conditional: Whether the row has a condition in words.
    """

    key: str
    row: int
    counts: Mapping[str, float]
    filters: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    conditional: bool = False


@dataclass(frozen=True)
class Refused:
    """A labelled row that is not counted.

    Args:
        row: Number of the row in the CSV file.
        key: File and line that it names.
        reason: Reason.
    """

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class Annotations:
    """Annotations of a game.

    Args:
        path: CSV file.
        known: Annotations by key.
        refused: Labelled rows that are not counted.
        unlabelled: Keys of rows without a label.
    """

    path: Path
    known: Mapping[str, Annotation] = field(default_factory=dict[str, Annotation])
    refused: tuple[Refused, ...] = ()
    unlabelled: frozenset[str] = frozenset()


def read_annotations(path: Path) -> Annotations:
    """Read a CSV file of annotations.

    Raises:
        InputError: The file cannot be read, or a label has another form; the message names the row.
    """
    known: dict[str, Annotation] = {}
    refused: list[Refused] = []
    unlabelled: set[str] = set()
    for row, cells in _rows(path):
        key = f"{cells[_FILE].split('.')[0]}:{cells[_LINE]}"
        if cells[_MORALITY] in ("", "N/A"):
            unlabelled.add(key)
            continue
        found = Annotation(
            key=key,
            row=row,
            counts=_counts(cells[_MORALITY], path, row),
            filters=tuple(f for f in re.split(r", |\n", cells[_FILTERS]) if f),
            quotes=_quotes(cells[_QUOTE]),
            conditional=bool(cells[_CONDITION]),
        )
        reason = _reason(found, cells[_LINE])
        if reason:
            refused.append(Refused(row, key, reason))
        elif key in known:
            refused.append(Refused(row, key, f"row {known[key].row} has the same place"))
        else:
            known[key] = found
    if not known:
        raise InputError("has no labelled line: expected the columns File, Line, ..., Morality", path=path)
    keys = {one.key for one in refused}
    return Annotations(path, known, tuple(refused), frozenset((unlabelled | keys) - set(known)))


def by_quotes(annotations: Annotations) -> Annotations:
    """The annotations that can be recognised by the text that they quote; the others are refused.

    A row is recognised if it quotes at least 12 characters that no other row quotes with another label, has
    no condition in words, and no filter that needs to know the object.
    """
    known: dict[str, Annotation] = {}
    refused = list(annotations.refused)
    texts: dict[tuple[str, ...], list[Annotation]] = {}
    for one in annotations.known.values():
        texts.setdefault(one.quotes, []).append(one)
    recognised: set[tuple[str, ...]] = set()
    for key, one in annotations.known.items():
        reason = _unrecognisable(one, texts[one.quotes])
        if reason:
            refused.append(Refused(one.row, key, reason))
        elif one.quotes not in recognised:
            # Rows with the same text and the same label count as one.
            recognised.add(one.quotes)
            known[key] = one
    hidden = annotations.unlabelled | set(annotations.known) - set(known)
    return Annotations(annotations.path, known, tuple(refused), frozenset(hidden))


def _unrecognisable(one: Annotation, same_text: Sequence[Annotation]) -> str:
    """Why a row cannot be recognised by its text; empty if it can."""
    if sum(map(len, one.quotes)) < _SHORTEST_QUOTE:
        return "it quotes no text by which the line could be recognised"
    if one.conditional:
        return "its condition is in words"
    if set(one.filters) - {"only-first", "first", "ignore-first"}:
        return f"the filter {', '.join(one.filters)} needs markers"
    for other in same_text:
        if (other.counts, other.filters) != (one.counts, one.filters):
            return f"row {other.row} quotes the same text with another label"
    return ""


def _rows(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not CSV ({error})", path=path) from error
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row[: _FILTERS + 1]]
        cells += [""] * (_FILTERS + 1 - len(cells))
        if cells[_FILE] and (cells[_LINE] or cells[_MORALITY]):
            yield number, cells


def _counts(cell: str, path: Path, row: int) -> dict[str, float]:
    counts: dict[str, float] = {}
    for component in cell.split("\n"):
        if component == "ancillary":
            continue
        found = _COMPONENT.fullmatch(component.strip())
        if found is None:
            raise InputError(
                f"expected 'bad' or 'good', 'others' or 'self', 1 to 3, as in 'bad, others, 2'; found "
                f"{component!r:.60}",
                path=path,
                row=row,
                field="Morality",
            )
        name = f"{VARIABLE}{found[1]}_{found[2]}"
        counts[name] = counts.get(name, 0.0) + int(found[3])
    return counts


def _reason(found: Annotation, line: str) -> str:
    if _PLACE.fullmatch(line) is None:
        return f"'{line}' is not the number of a line" if line else "it names no line"
    unknown = [one for one in found.filters if _FILTER.fullmatch(one) is None]
    return f"its filter is unknown: {unknown[0]:.60}" if unknown else ""


def _quotes(cell: str) -> tuple[str, ...]:
    """Texts in double quotes in a piece of ZIL, in which ``|`` is a line break."""
    if cell.count('"') % 2:
        # Some cells begin inside a text.
        cell = f'"{cell}'
    texts = (plain_text(text.replace("|", " ")) for text in re.findall(r'"((?:[^"\\]|\\.)*)"', cell))
    return tuple(text for text in texts if text)


def plain_text(text: str) -> str:
    """A text with single spaces in place of white space and without backslashes."""
    return " ".join(text.replace("\\", "").split())
