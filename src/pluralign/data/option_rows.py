"""Tables with one row per option: the options of a question, and the answer to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from pluralign.core import Decision, InputError
from pluralign.core.choice import SAME, Choice, Question
from pluralign.data.cells import built, cell_of, number_of, person_of, plain
from pluralign.data.source import Row, Table

Made = TypeVar("Made")

_YES, _NO = ("1", "true", "yes", "x"), ("0", "false", "no", "")


@dataclass(frozen=True)
class AnswerColumns:
    """Columns of the answers, the people and the questions; see `load_choices`."""

    chosen: str = "chosen"
    rank: str = ""
    rating: str = ""
    person: str = ""
    question: str = ""
    option: str = ""


@dataclass(frozen=True)
class OptionRows:
    """The rows of one question.

    Args:
        table: Table of the rows.
        person: Name of the person; may be empty.
        name: Name of the question.
        rows: Rows with their numbers, one per option.
    """

    table: Table
    person: str
    name: str
    rows: tuple[tuple[int, Row], ...]

    def built(self, make: Callable[[], Made]) -> Made:
        """What a function makes; its errors name the first row."""
        return built(self.table, self.rows[0][0], make)

    def names(self, column: str) -> tuple[str, ...]:
        """Texts of the options; numbers without a column for them.

        Raises:
            InputError: There is no such column, or an option is there twice.
        """
        if not column:
            return tuple(f"option {index}" for index in range(1, len(self.rows) + 1))
        found: list[str] = []
        for number, row in self.rows:
            found.append(plain(cell_of(self.table, number, row, column)))
            if found[-1] in found[:-1]:
                raise self.table.error(
                    f"is there twice in this question: {found[-1]!r:.60}", row=number, field=column
                )
        return tuple(found)

    def choices(self, question: Question, columns: AnswerColumns, in_pairs: bool) -> list[Choice]:
        """The answer to a question: one choice, or one per pair of options.

        Each of the n (n - 1) / 2 pairs counts 2 / n, so that together they count like the n - 1 choices of a
        ranking. Equal options are "about the same".

        Args:
            question: The question.
            columns: Meaning of the columns.
            in_pairs: Whether ranks or ratings become pairs; they must, where any two are equal.
        """
        if not columns.rank and not columns.rating:
            answer = self._taken(columns)
            return [self.built(lambda: Choice(question, answer, by=self.person))]
        places = self.places(columns)
        if not in_pairs:
            order = tuple(sorted(range(len(places)), key=places.__getitem__))
            return [Choice(question, order, by=self.person)]
        return [self._pair(question, i, j, places) for i, j in combinations(range(len(places)), 2)]

    def places(self, columns: AnswerColumns) -> list[float]:
        """Numbers of the options, the lowest for the best; none if there are no ranks or ratings."""
        column, sign = (columns.rank, 1.0) if columns.rank else (columns.rating, -1.0)
        if not column:
            return []
        return [
            sign * number_of(self.table, number, cell_of(self.table, number, row, column), column)
            for number, row in self.rows
        ]

    def _pair(self, question: Question, i: int, j: int, places: list[float]) -> Choice:
        decision = question.decision
        pair = Question(
            Decision(decision.prompt, (decision.options[i], decision.options[j])),
            (question.values[i], question.values[j]),
            may_tie=True,
        )
        answer = SAME if places[i] == places[j] else int(places[j] < places[i])
        return Choice(pair, answer, by=self.person, weight=2.0 / len(places), part_of=f"question {self.name}")

    def _taken(self, columns: AnswerColumns) -> int:
        cells = [plain(cell_of(self.table, number, row, columns.chosen)) for number, row in self.rows]
        if columns.option and len(set(cells)) == 1 and cells[0].lower() not in (*_YES, *_NO):
            return self._named(cells[0], columns)
        taken: list[int] = []
        for place, (cell, (number, _)) in enumerate(zip(cells, self.rows, strict=True)):
            if cell.lower() not in (*_YES, *_NO):
                more = "" if columns.option else ", or the option's name with its column as option"
                raise self.table.error(
                    f"expected 1 or 0, found {cell!r:.60}{more}", row=number, field=columns.chosen
                )
            if cell.lower() in _YES:
                taken.append(place)
        if len(taken) != 1:
            more = "" if columns.person or len(taken) < 2 else "; is the person's column missing?"
            raise self.table.error(
                f"expected one option taken in this question of {len(self.rows)} rows, found "
                f"{len(taken)}{more}",
                row=self.rows[0][0],
                field=columns.chosen,
            )
        return taken[0]

    def _named(self, cell: str, columns: AnswerColumns) -> int:
        names = self.names(columns.option)
        if cell not in names:
            raise self.table.error(
                f"expected one of {', '.join(names):.200}, found {cell!r:.60}",
                row=self.rows[0][0], field=columns.chosen,
            )  # fmt: skip
        return names.index(cell)


def grouped_rows(table: Table, columns: AnswerColumns) -> tuple[list[OptionRows], bool]:
    """The questions of a table with one row per option, in the order of their first rows.

    Returns:
        The questions, and whether any two options of one have equal ranks or ratings.

    Raises:
        InputError: No column numbers the questions, or a column is missing.
    """
    if not columns.question:
        raise InputError("with one row per option, name the column that numbers the questions",
                         field="question")  # fmt: skip
    if columns.rank and columns.rating:
        raise InputError("give either rank or rating", field="rating")
    groups: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        person = person_of(table, number, row, columns.person)
        key = (person, plain(cell_of(table, number, row, columns.question)))
        groups.setdefault(key, []).append((number, row))
    found = [OptionRows(table, *key, tuple(rows)) for key, rows in groups.items()]
    places = [group.places(columns) for group in found]
    return found, any(len(set(own)) < len(own) for own in places)
