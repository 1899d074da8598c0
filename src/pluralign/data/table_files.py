"""How the cells of a table's file are read: its separators, and columns that are texts."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import repeated

_TEXTS = ("prompt", "completion", "rejected", "system")
"""Columns whose cells are texts whatever they look like; and "chosen", next to "rejected"."""
_NUMBERS = ("margin", "reward")
"""Columns of numbers, in which an empty cell is missing; it would make texts of the others."""
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
_PLAIN = re.compile(r"([+-]?\d+(,\d+)?)?")


def opened(path: Path) -> Any:
    """A file to read, unpacked."""
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def reading_of_table(path: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Arguments with which pandas reads a table.

    Args:
        path: File of the table.
        texts: Further columns whose cells are texts whatever they look like.

    Raises:
        InputError: Two columns have the same name.
    """
    first = _first_line(path)
    tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
    semicolons = not tabs and b";" in first and b"," not in first
    names = _rows(path, "\t" if tabs else ";" if semicolons else ",", 1) or [[]]
    # pandas takes the first.
    if (twice := repeated(filter(None, names[0]))) is not None:
        raise InputError("two columns have this name", path=path, row=1, field=twice)
    chosen = ("chosen",) if b"rejected" in first else ()
    texts = (*_TEXTS, *chosen, *texts)
    # Otherwise a completion "None" or "N/A" would count as missing, and "42" or "007" as a number.
    reading: dict[str, Any] = {
        "keep_default_na": False, "converters": dict.fromkeys(texts, str),
        "na_values": dict.fromkeys(_NUMBERS, ""),
    }  # fmt: skip
    if tabs:
        return {**reading, "sep": "\t"}
    if not semicolons:
        return reading
    # Spreadsheets write semicolons in locales with a decimal comma.
    grouped = {name: _number if name in _NUMBERS else ungrouped for name in _columns_with_thousands(path)}
    converters = {**grouped, **reading["converters"]}
    return {**reading, "sep": ";", "decimal": ",", "converters": converters}


def ungrouped(cell: str) -> str:
    """A number without points between groups of thousands, and with a decimal point.

    >>> ungrouped("1.234,5")
    '1234.5'
    """
    return cell.strip().replace(".", "").replace(",", ".")


def _number(cell: str) -> float:
    """A missing number is NaN, as pandas reads it."""
    return float(ungrouped(cell) or "nan")


def _columns_with_thousands(path: Path) -> list[str]:
    """Columns of numbers with points between groups of thousands. They are taken for decimal points where no
    number of the table has a decimal comma."""
    names, *rows = _rows(path, ";") or [[]]
    columns = {name: [row[i].strip() for row in rows if i < len(row)] for i, name in enumerate(names)}
    if not any(_DECIMAL_COMMA.fullmatch(cell) for cells in columns.values() for cell in cells):
        return []
    return [
        name
        for name, cells in columns.items()
        if any(map(_GROUPED.fullmatch, cells))
        and all(_GROUPED.fullmatch(cell) or _PLAIN.fullmatch(cell) for cell in cells)
    ]


def _rows(path: Path, separator: str, most: int | None = None) -> list[list[str]]:
    """The first rows of a table; none if it cannot be read."""
    try:
        with opened(path) as handle, io.TextIOWrapper(handle, "utf-8-sig", "replace", newline="") as text:
            return list(islice(csv.reader(text, delimiter=separator), most))
    except (OSError, EOFError, ValueError, csv.Error):
        return []


def _first_line(path: Path) -> bytes:
    """First line of a table; empty if it cannot be read."""
    try:
        with opened(path) as handle:
            return handle.readline()
    except (OSError, EOFError):
        return b""
