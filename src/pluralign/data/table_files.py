"""How the cells of a table's file are read: its separators, and columns that are texts."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TEXTS = ("prompt", "completion", "rejected", "system")
"""Columns whose cells are texts whatever they look like; and "chosen", next to "rejected"."""
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
    """
    first = _first_line(path)
    chosen = ("chosen",) if b"rejected" in first else ()
    texts = (*_TEXTS, *chosen, *texts)
    # Otherwise a completion "None" or "N/A" would count as missing, and "42" or "007" as a number.
    reading: dict[str, Any] = {"keep_default_na": False, "converters": dict.fromkeys(texts, str)}
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return {**reading, "sep": "\t"}
    if b";" not in first or b"," in first:
        return reading
    # Spreadsheets write semicolons in locales with a decimal comma.
    converters = {**dict.fromkeys(_columns_with_thousands(path), ungrouped), **reading["converters"]}
    return {**reading, "sep": ";", "decimal": ",", "converters": converters}


def ungrouped(cell: str) -> str:
    """A number without points between groups of thousands, and with a decimal point.

    >>> ungrouped("1.234,5")
    '1234.5'
    """
    return cell.strip().replace(".", "").replace(",", ".")


def _columns_with_thousands(path: Path) -> list[str]:
    """Columns of numbers with points between groups of thousands. They are taken for decimal points where no
    number of the table has a decimal comma."""
    try:
        with opened(path) as handle:
            text = io.TextIOWrapper(handle, "utf-8-sig", errors="replace", newline="")
            names, *rows = csv.reader(text, delimiter=";")
    except (OSError, EOFError, ValueError, csv.Error):
        return []
    columns = {name: [row[i].strip() for row in rows if i < len(row)] for i, name in enumerate(names)}
    if not any(_DECIMAL_COMMA.fullmatch(cell) for cells in columns.values() for cell in cells):
        return []
    return [
        name
        for name, cells in columns.items()
        if any(map(_GROUPED.fullmatch, cells))
        and all(_GROUPED.fullmatch(cell) or _PLAIN.fullmatch(cell) for cell in cells)
    ]


def _first_line(path: Path) -> bytes:
    """First line of a table; empty if it cannot be read."""
    try:
        with opened(path) as handle:
            return handle.readline()
    except (OSError, EOFError):
        return b""
