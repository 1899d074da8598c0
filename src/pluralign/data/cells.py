"""Cells of tables: numbers, texts, and what is empty."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from pluralign.core import InputError
from pluralign.data.source import Row, Table

Made = TypeVar("Made")


def cell_of(table: Table, number: int, row: Row, column: str) -> Any:
    """A cell of a column that must exist."""
    if column not in row:
        raise table.error(f"is missing; the columns are {', '.join(row)}", row=number, field=column)
    return row[column]


def person_of(table: Table, number: int, row: Row, column: str) -> str:
    """The person of a row; empty without a column. Several columns have commas between them.

    Raises:
        InputError: There is no such column, or a cell is empty.
    """
    if not column:
        return ""
    found: list[str] = []
    for one in [column] if column in row else column.split(","):
        cell = cell_of(table, number, row, one.strip())
        name = "" if is_empty(cell) else plain(cell)
        # Cells of people are texts, in which other programs write numbers with a decimal point.
        found.append(name[:-2] if name.endswith(".0") and name[:-2].isdigit() else name)
        if not found[-1]:
            raise table.error("is empty; expected the name of a person", row=number, field=one.strip())
    return ", ".join(found)


def is_empty(cell: Any) -> bool:
    """Whether there is nothing in a cell."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def plain(cell: Any) -> str:
    """A cell as a text; whole numbers without a decimal point, as spreadsheets write some columns."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip() if cell is not None else ""


def number_of(table: Table, number: int, cell: Any, field: str) -> float:
    """A cell as a finite number."""
    try:
        value = float("nan" if isinstance(cell, bool) or cell is None else cell)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise table.error(f"expected a number{_hint(cell, field)}", row=number, field=field)
    return value


def _hint(cell: Any, field: str) -> str:
    """What was found, and what to do about it."""
    found = f", found {cell!r:.60}"
    if not isinstance(cell, str) or not cell.strip():
        return found
    if any(one.isdigit() for one in cell):
        return f" without a unit{found}"
    return f"{found} (a category is an objective of its own: NAME={field}:{cell.strip():.40})"


def built(table: Table, number: int, make: Callable[[], Made]) -> Made:
    """What a function makes of a row; its errors name the row."""
    try:
        return make()
    except InputError as error:
        raise table.error(error.message, row=number, field=error.field) from error
