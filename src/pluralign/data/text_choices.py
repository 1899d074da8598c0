"""Choices among texts in users' tables (surveys, rated answers), to which a function gives values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.core import Decision, InputError
from pluralign.core.choice import Choice, Question
from pluralign.core.jsonl import is_list
from pluralign.data.cells import built, cell_of, person_of, plain
from pluralign.data.choices import open_choices
from pluralign.data.option_rows import AnswerColumns, grouped_rows
from pluralign.data.source import Data, Table

# The number or letter that an option begins with: "1. Yes", "(b) no", "0 = never", or nothing else.
_LABEL = re.compile(r"\(?(\d+|[A-Za-z])\s*(?:[.):=](?!\d)|[-\u2013]\s|$)")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")

Values = tuple[Mapping[str, float], ...]
ValuesOf = Callable[[Sequence[Decision]], Sequence[Values]]
"""Function from decisions to the values of each one's options, by objective."""


@dataclass(frozen=True)
class TextColumns(AnswerColumns):
    """Columns of a table of choices among texts, with one row per option or one row per question.

    Args:
        prompt: Column of the question's text.
        options: Column of all options' texts; with one row per question: a list, a JSON list in a text, or
            texts with | or line breaks between them.
        chosen: Column of the answer. With one row per option: 1 for the option taken and 0 for the others,
            or its text in every row. With one row per question: the option's text, its number from 1, or its
            letter from A; numbers and letters that options begin with ("0 = never") are theirs.
        rank: Column of ranks instead of ``chosen``; see `load_choices`.
        rating: Column of ratings instead of ``chosen``; see `load_choices`.
        person: Column of the person; see `load_choices`.
        question: Column that numbers the questions of a person; with one row per option.
        option: Column of an option's text; with one row per option.
    """

    prompt: str = "prompt"
    options: str = ""


@dataclass(frozen=True)
class _Asked:
    """A decision, and the function from its question to the choices."""

    decision: Decision
    answered: Callable[[Question], list[Choice]]


def load_text_choices(data: Data, columns: TextColumns, values_of: ValuesOf) -> list[Choice]:
    """Read choices among texts.

    Args:
        data: See `load_pairs`.
        columns: Meaning of the columns.
        values_of: Function from decisions, each of them once, to the values of their options.

    Raises:
        InputError: A column is missing, a question has fewer than two options, or an answer is not one of
            them; the error names file, row and field.

    Examples:
        >>> def words(decisions):
        ...     return [tuple({"words": len(text.split())} for text in one.options) for one in decisions]
        >>> rows = [{"ask": "Is family important?", "scale": "very|not at all", "answer": "B"}]
        >>> columns = TextColumns("answer", prompt="ask", options="scale")
        >>> (choice,) = load_text_choices(rows, columns, words)
        >>> choice.question.decision.options[choice.answer]
        'not at all'
    """
    if bool(columns.option) == bool(columns.options):
        raise InputError("name the column of one option's text (option) or of all (options)", field="option")
    if columns.options and (columns.rank or columns.rating):
        raise InputError("needs one row per option", field="rank" if columns.rank else "rating")
    table = open_choices(data, columns.person)
    asked = list(_of_options(table, columns) if columns.option else _of_questions(table, columns))
    if not asked:
        raise table.error("holds no choice")
    decisions = list(dict.fromkeys(one.decision for one in asked))
    known = dict(zip(decisions, values_of(decisions), strict=True))
    return [choice for one in asked for choice in one.answered(Question(one.decision, known[one.decision]))]


def _of_options(table: Table, columns: TextColumns) -> list[_Asked]:
    found: list[_Asked] = []
    groups, in_pairs = grouped_rows(table, columns)
    for group in groups:
        prompts = [_text(table, number, row, columns.prompt) for number, row in group.rows]
        for (number, _), prompt in zip(group.rows, prompts, strict=True):
            if prompt != prompts[0]:
                raise table.error(
                    "differs from the prompt of this question's other options",
                    row=number, field=columns.prompt,
                )  # fmt: skip
        names = group.names(columns.option)
        if len(names) < 2:
            raise table.error("a question needs at least two options, found 1", row=group.rows[0][0])
        found.append(_Asked(Decision(prompts[0], names), lambda q, g=group: g.choices(q, columns, in_pairs)))
    return found


def _of_questions(table: Table, columns: TextColumns) -> list[_Asked]:
    found: list[_Asked] = []
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        options = _options(table, number, cell_of(table, number, row, columns.options), columns.options)
        place = _place(table, number, plain(cell_of(table, number, row, columns.chosen)), options, columns)
        decision = Decision(_text(table, number, row, columns.prompt), options)
        person = person_of(table, number, row, columns.person)
        found.append(
            _Asked(
                decision,
                lambda q, n=number, p=place, b=person: [built(table, n, lambda: Choice(q, p, by=b))],
            )
        )
    return found


def _text(table: Table, number: int, row: Mapping[str, Any], column: str) -> str:
    found = plain(cell_of(table, number, row, column))
    if not found:
        raise table.error("is empty; expected a text", row=number, field=column)
    return found


def _options(table: Table, number: int, cell: Any, column: str) -> tuple[str, ...]:
    parts: Any = cell
    if isinstance(cell, str):
        parts = None
        if cell.lstrip().startswith("["):
            try:
                parts = json.loads(cell)
            except (ValueError, RecursionError):
                parts = None
        if parts is None:
            parts = cell.split("|") if "|" in cell else cell.splitlines()
    texts = tuple(plain(one) for one in parts) if is_list(parts) else ()
    if len(texts) < 2 or not all(texts) or len(set(texts)) < len(texts):
        raise table.error(
            f"expected two different options or more, in a list or with | between them, found {cell!r:.80}",
            row=number,
            field=column,
        )
    return texts


def _names(options: tuple[str, ...]) -> dict[str, int]:
    """Numbers and letters of the options: those that their texts are or begin with ("0 = never"), else places
    from 1 and from A."""
    labels = [found[1].upper() if (found := _LABEL.match(text)) else "" for text in options]
    names = {label: place for place, label in enumerate(labels) if label and labels.count(label) == 1}
    if not any(label.isdigit() for label in labels) and not any(map(_NUMBER.fullmatch, options)):
        names |= {str(place): place - 1 for place in range(1, len(options) + 1)}
    if not any(label.isalpha() for label in labels):
        names |= {chr(ord("A") + place): place for place in range(min(len(options), 26))}
    return names


def _place(table: Table, number: int, cell: str, options: tuple[str, ...], columns: TextColumns) -> int:
    if cell in options:
        return options.index(cell)
    names = _names(options)
    if cell.upper() in names:
        return names[cell.upper()]
    raise table.error(
        f"expected an option's text, its number from 1 or its letter, found {cell!r:.60}",
        row=number,
        field=columns.chosen,
    )
