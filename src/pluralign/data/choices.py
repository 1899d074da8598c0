"""Choices and questions in users' files: rows of our own, one row per choice, or one row per option."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core import Decision, Examples, InputError
from pluralign.core.checks import checked
from pluralign.core.choice import SAME, Answer, Choice, Question
from pluralign.core.files import check_beginning, write_text
from pluralign.core.jsonl import is_list, is_object, json_text, read_rows
from pluralign.data.cells import built, number_of, person_of
from pluralign.data.choice_tables import ChoiceColumns, Missing, table_rows
from pluralign.data.source import Data, Row, Table, open_table


@checked
def load_choices(
    data: Data,
    *,
    values: Sequence[str] = (),
    chosen: str = "chosen",
    rank: str = "",
    rating: str = "",
    person: str = "",
    question: str = "",
    option: str = "",
    missing: Missing = "refuse",
) -> list[Choice]:
    """Read choices among options with known values.

    Without ``values`` the rows are those that `pluralign ask` writes: prompt, options, values, answer.
    If any two ranks or ratings are equal, every question becomes pairs of options, which together count like
    the ranking, and equal ones are "about the same".

    Args:
        data: See `load_pairs`.
        values: Column of each objective's values, as NAME=COLUMN, or NAME=-COLUMN if lower is better. In
            tables with one row per choice, {} is the option's place in the column's name: time=-tt{} reads
            the columns tt1, tt2, ...; an option without any value was not offered. In tables with one row per
            option, names have no {}. bus=mode:bus is 1 where the column mode holds bus, and 0 elsewhere.
        chosen: Column of the answer: with one row per choice, the option taken, as in the columns' names (1,
            2, ...); with one row per option, 1 for the option taken and 0 for the others, or its name in
            every row (``option``).
        rank: Column of the options' ranks, 1 for the best, instead of ``chosen``; with one row per option.
        rating: Column of the options' ratings, the highest for the best, instead of ``chosen``; likewise.
        person: Column that names the person, or several with commas between them; without it, all rows are of
            one person.
        question: Column that numbers the questions of a person; with one row per option.
        option: Column of the options' names or texts; with one row per option.
        missing: What to do about a question with an empty value: refuse the file, or drop the question.

    Raises:
        InputError: A column is missing, a value is no number, or an answer is not one of the options; the
            error names file, row and field.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"tt1": 10, "tt2": 20, "tc1": 5, "tc2": 3, "choice": 2}]
        >>> (choice,) = pl.load_choices(rows, values=["time=-tt{}", "cost=-tc{}"], chosen="choice")
        >>> choice.answer, dict(choice.question.values[1])
        (1, {'time': -20.0, 'cost': -3.0})
    """
    columns = ChoiceColumns(chosen, rank, rating, person, question, option, tuple(values), missing)
    return list(read_choices(data, columns))


def read_choices(data: Data, columns: ChoiceColumns) -> Examples[Choice]:
    """Read choices as `load_choices` does, and count questions and those left out (``missing``).

    Args:
        data: See `load_pairs`.
        columns: Meaning of the columns.

    Raises:
        InputError: See `load_choices`.
    """
    table = open_choices(data, columns.person)
    counts: Counter[str] = Counter(questions=0, missing=0)
    found = list(table_rows(table, columns, counts) if columns.values else _own_rows(table, columns))
    if not found:
        raise table.error(f"holds no choice{f': {dict(counts)}' if counts['missing'] else ''}")
    return Examples(tuple(found), dict(counts))


def load_questions(data: Data) -> list[Question]:
    """Read questions: rows that `question_row` makes, or choices, whose answers are ignored.

    Args:
        data: See `load_pairs`.

    Raises:
        InputError: A field is missing or has another type, or there is no row.
    """
    table = open_choices(data)
    found = [_question(table, number, row) for number, (_, _, row) in enumerate(table.rows(), start=1)]
    if not found:
        raise table.error("holds no question")
    return found


def question_row(question: Question) -> dict[str, Any]:
    """A question as a JSON object."""
    decision = question.decision
    return {
        "prompt": decision.prompt, "options": list(decision.options),
        "values": [dict(own) for own in question.values],
        "may_tie": question.may_tie, "cost": question.cost,
    }  # fmt: skip


def choice_row(choice: Choice) -> dict[str, Any]:
    """A choice as a JSON object: its question, and ``answer``, ``by``, ``weight`` and ``part_of``, if any."""
    answer = list(choice.answer) if isinstance(choice.answer, tuple) else choice.answer
    own = {**question_row(choice.question), "answer": answer, "by": choice.by, "weight": choice.weight}
    return {**own, "part_of": choice.part_of} if choice.part_of else own


def load_unfinished_choices(path: Path) -> list[Choice]:
    """Choices of a file that is still written to, row by row; a last line that a kill cut off is left out.

    Raises:
        InputError: The file cannot be read, or it is none of choices.
    """
    rows = [fields.row for fields in read_rows(path, drop_cut_off_line=True)]
    if not rows:
        check_beginning(path, b'{"prompt": ', "a file of choices")
    return list(_own_rows(Table(path.name, str(path), {"train": rows}, assigned=False), ChoiceColumns()))


def append_choice(path: Path, choice: Choice) -> None:
    """Write a further row; it is on disk when this returns.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json_text(choice_row(choice)) + "\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error


def save_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON lines."""
    return write_text(path, "".join(json_text(row) + "\n" for row in rows))


def open_choices(data: Data, person: str = "") -> Table:
    """A table; JSON lines are read row by row, because a column may hold numbers, lists and texts.

    Args:
        data: See `load_pairs`.
        person: Column that names the person, or several; the people 7 and 007 are two.
    """
    if not isinstance(data, str | Path) or not str(data).endswith(".jsonl"):
        return open_table(data, texts=(person, *(one.strip() for one in person.split(","))))
    rows = [fields.row for fields in read_rows(data)]
    return Table(Path(data).name, str(data), {"train": rows}, assigned=False)


def _own_rows(table: Table, columns: ChoiceColumns) -> Iterator[Choice]:
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        question = _question(table, number, row)
        answer = _answer(table, number, row.get("answer"))
        by, weight, part_of = row.get("by") or "", row.get("weight", 1.0), row.get("part_of") or ""
        texts = isinstance(by, str) and isinstance(part_of, str)
        if not texts or isinstance(weight, bool) or not isinstance(weight, int | float):
            raise table.error("expected texts by and part_of and a number weight", row=number)
        if columns.person:
            by = person_of(table, number, row, columns.person)
        yield built(
            table, number,
            lambda q=question, a=answer, b=by, w=weight, p=part_of: Choice(q, a, b, float(w), p),
        )  # fmt: skip


def _answer(table: Table, number: int, cell: Any) -> Answer:
    if cell == SAME or type(cell) is int:
        return cell
    if is_list(cell) and all(type(place) is int for place in cell):
        return tuple(int(place) for place in cell)
    raise table.error(
        f"expected an option's number from 0, a ranking or {SAME!r}, found {cell!r:.60}",
        row=number,
        field="answer",
    )


def _question(table: Table, number: int, row: Row) -> Question:
    prompt, options, values = (row.get(name) for name in ("prompt", "options", "values"))
    if not isinstance(prompt, str):
        more = "" if "prompt" in row else f" (of a table, name the columns by values: {', '.join(row):.200})"
        raise table.error(f"expected a text, found {prompt!r:.60}{more}", row=number, field="prompt")
    if not is_list(options) or not all(isinstance(text, str) for text in options):
        raise table.error(f"expected a list of texts, found {options!r:.60}", row=number, field="options")
    if not is_list(values) or not all(is_object(own) for own in values):
        raise table.error(
            f"expected one object of numbers per option, found {values!r:.60}", row=number, field="values"
        )
    known = tuple({name: number_of(table, number, value, f"values.{name}") for name, value in own.items()
                   if value is not None} for own in values)  # fmt: skip
    may_tie, cost = row.get("may_tie") or False, row.get("cost", 1.0)
    if not isinstance(may_tie, bool):
        raise table.error(f"expected true or false, found {may_tie!r:.60}", row=number, field="may_tie")
    cost = number_of(table, number, cost, "cost")
    return built(table, number, lambda: Question(Decision(prompt, tuple(options)), known, may_tie, cost))
