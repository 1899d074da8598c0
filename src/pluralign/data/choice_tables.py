"""Tables of choices that other tools write: one row per choice, or one row per option."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pluralign.core import Decision, InputError
from pluralign.core.choice import Choice, Question
from pluralign.data.source import Row, Table

Made = TypeVar("Made")

_YES, _NO = ("1", "true", "yes", "x"), ("0", "false", "no", "")


@dataclass(frozen=True)
class ChoiceColumns:
    """Columns of a table of choices; without ``values`` the rows are those that `choice_row` makes.

    Fields are the arguments of `load_choices`.
    """

    values: tuple[str, ...] = ()
    chosen: str = "chosen"
    rank: str = ""
    person: str = ""
    question: str = ""


def table_rows(table: Table, columns: ChoiceColumns) -> Iterator[Choice]:
    """Choices of a table.

    Args:
        table: Rows.
        columns: Meaning of the columns, with ``values``.

    Raises:
        InputError: See `load_choices`.
    """
    named = columns_of_values(columns.values)
    marked = ["{}" in column for _, column in named.values()]
    if any(marked) != all(marked):
        raise InputError("either all columns have {} or none", field="values")
    return (_wide_rows if all(marked) else _long_rows)(table, columns, named)


def _wide_rows(
    table: Table, columns: ChoiceColumns, patterns: Mapping[str, tuple[float, str]]
) -> Iterator[Choice]:
    labels: list[str] | None = None
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        if labels is None:
            labels = _labels(table, patterns, row)
        values = tuple(
            {
                name: sign * number_of(table, number, row.get(column), column)
                for name, (sign, pattern) in patterns.items()
                for column in (pattern.replace("{}", label),)
            }
            for label in labels
        )
        taken = _plain(cell_of(table, number, row, columns.chosen))
        if taken not in labels:
            raise table.error(
                f"expected one of {', '.join(labels)}, found {taken!r:.60}", row=number, field=columns.chosen
            )
        person = str(cell_of(table, number, row, columns.person)) if columns.person else ""
        options = tuple(f"option {label}" for label in labels)
        question = built(
            table, number, lambda n=number, o=options, v=values: Question(Decision(f"row {n}", o), v)
        )
        yield Choice(question, labels.index(taken), by=person)


def _labels(table: Table, patterns: Mapping[str, tuple[float, str]], row: Row) -> list[str]:
    """What stands for {} in the columns of all objectives, in the order of the columns."""
    common: list[str] | None = None
    for _, pattern in patterns.values():
        before, _, after = pattern.partition("{}")
        size = len(before) + len(after)
        own = [
            name[len(before) : len(name) - len(after)]
            for name in row
            if len(name) > size and name.startswith(before) and name.endswith(after)
        ]
        common = own if common is None else [label for label in common if label in own]
    if common is None or len(common) < 2:
        wanted = ", ".join(pattern for _, pattern in patterns.values())
        raise table.error(
            f"expected columns of two options or more for {wanted}; the columns are {', '.join(row)}",
            row=1,
        )
    return common


def _long_rows(
    table: Table, columns: ChoiceColumns, named: Mapping[str, tuple[float, str]]
) -> Iterator[Choice]:
    if not columns.question:
        raise InputError("with one row per option, name the column that numbers the questions",
                         field="question")  # fmt: skip
    groups: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        person = str(cell_of(table, number, row, columns.person)) if columns.person else ""
        key = (person, _plain(cell_of(table, number, row, columns.question)))
        groups.setdefault(key, []).append((number, row))
    for (person, name), rows in groups.items():
        first = rows[0][0]
        values = tuple(
            {
                objective: sign * number_of(table, number, cell_of(table, number, row, column), column)
                for objective, (sign, column) in named.items()
            }
            for number, row in rows
        )
        options = tuple(f"option {index}" for index in range(1, len(rows) + 1))
        prompt = f"question {name}" + (f" of {person}" if person else "")
        question = built(table, first, lambda p=prompt, o=options, v=values: Question(Decision(p, o), v))
        answer = _ranking(table, rows, columns.rank) if columns.rank else _taken(table, rows, columns.chosen)
        yield built(table, first, lambda q=question, a=answer, p=person: Choice(q, a, by=p))


def _taken(table: Table, rows: Sequence[tuple[int, Row]], column: str) -> int:
    taken: list[int] = []
    for place, (number, row) in enumerate(rows):
        cell = _plain(cell_of(table, number, row, column)).lower()
        if cell not in _YES and cell not in _NO:
            raise table.error(f"expected 1 or 0, found {cell!r:.60}", row=number, field=column)
        if cell in _YES:
            taken.append(place)
    if len(taken) != 1:
        raise table.error(
            f"expected one option taken in this question of {len(rows)} rows, found {len(taken)}",
            row=rows[0][0],
            field=column,
        )
    return taken[0]


def _ranking(table: Table, rows: Sequence[tuple[int, Row]], column: str) -> tuple[int, ...]:
    ranks = [number_of(table, number, cell_of(table, number, row, column), column) for number, row in rows]
    if len(set(ranks)) < len(ranks):
        raise table.error("two options of this question have one rank", row=rows[0][0], field=column)
    return tuple(sorted(range(len(ranks)), key=ranks.__getitem__))


def columns_of_values(entries: Sequence[str]) -> dict[str, tuple[float, str]]:
    """Sign and column by objective."""
    found: dict[str, tuple[float, str]] = {}
    for entry in entries:
        name, _, column = entry.partition("=")
        sign = -1.0 if column.startswith("-") else 1.0
        column = column.removeprefix("-")
        if not name or not column:
            raise InputError(f"expected NAME=COLUMN or NAME=-COLUMN, found {entry!r}", field="values")
        if name in found:
            raise InputError(f"'{name}' is given twice", field="values")
        found[name] = (sign, column)
    return found


def cell_of(table: Table, number: int, row: Row, column: str) -> Any:
    """A cell of a column that must exist."""
    if column not in row:
        raise table.error(f"is missing; the columns are {', '.join(row)}", row=number, field=column)
    return row[column]


def _plain(cell: Any) -> str:
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
        raise table.error(f"expected a number, found {cell!r:.60}", row=number, field=field)
    return value


def built(table: Table, number: int, make: Callable[[], Made]) -> Made:
    """What a function makes of a row; its errors name the row."""
    try:
        return make()
    except InputError as error:
        raise table.error(error.message, row=number, field=error.field) from error
