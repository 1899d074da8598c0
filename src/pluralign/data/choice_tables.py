"""Tables of choices that other tools write: one row per choice, or one row per option."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pluralign.core import Decision, InputError
from pluralign.core.choice import Choice, Question
from pluralign.data.cells import built, cell_of, is_empty, number_of, person_of, plain
from pluralign.data.option_rows import AnswerColumns, grouped_rows
from pluralign.data.source import Row, Table

Missing = Literal["refuse", "drop"]


@dataclass(frozen=True)
class ChoiceColumns(AnswerColumns):
    """Columns of a table of choices; without ``values`` the rows are those that `choice_row` makes.

    Fields are the arguments of `load_choices`.
    """

    values: tuple[str, ...] = ()
    missing: Missing = "refuse"


@dataclass(frozen=True)
class ValueColumn:
    """The column of an objective's values.

    Args:
        sign: -1 if lower is better, else 1.
        column: Name of the column; {} is the option's place in it. ``mode:bus`` is 1 where the column mode
            holds bus, and 0 elsewhere.
    """

    sign: float
    column: str

    def read(self, table: Table, number: int, row: Row) -> float:
        """Value in a row.

        Raises:
            Absent: The cell is empty.
            InputError: There is no such column, or the cell holds no number.
        """
        column, category = self.place(row)
        cell = cell_of(table, number, row, column)
        if is_empty(cell):
            raise Absent(number, column)
        if category:
            return self.sign * float(plain(cell) == category)
        return self.sign * number_of(table, number, cell, column)

    def place(self, row: Row) -> tuple[str, str]:
        """Name of the column in a row, and the category that counts as 1; empty for numbers."""
        column, _, category = self.column.rpartition(":")
        return (self.column, "") if self.column in row or column not in row else (column, category)

    def of(self, label: str) -> ValueColumn:
        """The column of one option: {} replaced by its place."""
        return replace(self, column=self.column.replace("{}", label))


class Absent(Exception):
    """An empty cell of an option's values."""

    def __init__(self, number: int, column: str) -> None:
        super().__init__(number, column)
        self.number, self.column = number, column

    def refusal(self, table: Table) -> InputError:
        """The error for the user."""
        return table.error(
            "is empty; fill it in, or leave out such questions (missing: drop)",
            row=self.number, field=self.column,
        )  # fmt: skip


def table_rows(table: Table, columns: ChoiceColumns, counts: Counter[str]) -> Iterator[Choice]:
    """Choices of a table.

    Args:
        table: Rows.
        columns: Meaning of the columns, with ``values``.
        counts: Counts of questions and of those left out (``missing``), which are increased.

    Raises:
        InputError: See `load_choices`.
    """
    named = columns_of_values(columns.values)
    marked = ["{}" in one.column for one in named.values()]
    if any(marked) != all(marked):
        raise InputError("either all columns have {} or none", field="values")
    read = _wide_rows if all(marked) else _long_rows
    for one in read(table, columns, named):
        counts["questions"] += 1
        if isinstance(one, Absent):
            if columns.missing == "refuse":
                raise one.refusal(table)
            counts["missing"] += 1
        else:
            yield from one


def _wide_rows(
    table: Table, columns: ChoiceColumns, patterns: Mapping[str, ValueColumn]
) -> Iterator[list[Choice] | Absent]:
    if columns.rank or columns.rating:
        raise InputError("needs one row per option", field="rank" if columns.rank else "rating")
    # Rows of JSON lines may have columns that the first one lacks.
    labels = _labels(table, patterns, list(dict.fromkeys(name for _, _, row in table.rows() for name in row)))
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        # An option without any value was not offered.
        offered = [label for label in labels if not _all_empty(row, patterns.values(), label)]
        try:
            values = tuple(
                {name: one.of(label).read(table, number, row) for name, one in patterns.items()}
                for label in offered
            )
        except Absent as absent:
            yield absent
            continue
        taken = plain(cell_of(table, number, row, columns.chosen))
        if taken not in offered:
            raise table.error(
                f"expected one of {', '.join(offered)}, found {taken!r:.60}", row=number, field=columns.chosen
            )
        person = person_of(table, number, row, columns.person)
        options = tuple(f"option {label}" for label in offered)
        question = built(
            table, number, lambda n=number, o=options, v=values: Question(Decision(f"row {n}", o), v)
        )
        yield [Choice(question, offered.index(taken), by=person)]


def _all_empty(row: Row, patterns: Iterable[ValueColumn], label: str) -> bool:
    return all(is_empty(row.get(one.of(label).place(row)[0])) for one in patterns)


def _labels(table: Table, patterns: Mapping[str, ValueColumn], columns: Sequence[str]) -> list[str]:
    """Texts that {} is replaced by in the columns of all objectives, in the order of the columns."""
    common: list[str] | None = None
    for one in patterns.values():
        before, _, after = one.column.partition("{}")
        own = _matching(columns, before, after) or _matching(columns, before, after.rpartition(":")[0])
        common = own if common is None else [label for label in common if label in own]
    if common is None or len(common) < 2:
        wanted = ", ".join(one.column for one in patterns.values())
        raise table.error(
            f"expected columns of two options or more for {wanted}; the columns are {', '.join(columns)}",
            row=1,
        )
    return common


def _matching(columns: Sequence[str], before: str, after: str) -> list[str]:
    size = len(before) + len(after)
    return [
        name[len(before) : len(name) - len(after)]
        for name in columns
        if len(name) > size and name.startswith(before) and name.endswith(after)
    ]


def _long_rows(
    table: Table, columns: ChoiceColumns, named: Mapping[str, ValueColumn]
) -> Iterator[list[Choice] | Absent]:
    groups, in_pairs = grouped_rows(table, columns)
    for group in groups:
        try:
            values = tuple(
                {objective: one.read(table, number, row) for objective, one in named.items()}
                for number, row in group.rows
            )
        except Absent as absent:
            yield absent
            continue
        names = group.names(columns.option)
        prompt = f"question {group.name}" + (f" of {group.person}" if group.person else "")
        question = group.built(lambda p=prompt, o=names, v=values: Question(Decision(p, o), v))
        yield group.choices(question, columns, in_pairs)


def columns_of_values(entries: Sequence[str]) -> dict[str, ValueColumn]:
    """Column by objective."""
    found: dict[str, ValueColumn] = {}
    for entry in entries:
        name, _, column = entry.partition("=")
        sign = -1.0 if column.startswith("-") else 1.0
        column = column.removeprefix("-")
        if not name or not column:
            raise InputError(f"expected NAME=COLUMN or NAME=-COLUMN, found {entry!r}", field="values")
        if name in found:
            raise InputError(f"'{name}' is given twice", field="values")
        found[name] = ValueColumn(sign, column)
    return found
