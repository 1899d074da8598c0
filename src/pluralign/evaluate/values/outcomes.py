"""Outcomes, lotteries over them, and Markov processes whose states are outcomes, with their files."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json
from pluralign.core.jsonl import Fields, is_list, is_object, read_rows, repeated

# Share of a probability that its text may be off by, and the most decimals of percentages.
_EXACT, _MOST_DECIMALS = 1e-3, 12


@dataclass(frozen=True)
class Outcome:
    """A state of the world in words.

    Args:
        text: Text of the outcome.
        group: Name of a group of outcomes, for reports.
        scores: Score of the outcome by objective, from which implied weights are inferred; may be empty.
    """

    text: str
    group: str = ""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("an outcome has no text", field="text")
        for name, score in self.scores.items():
            if not math.isfinite(score):
                raise InputError(f"must be finite, found {score}", field=f"scores.{name}")


@dataclass(frozen=True)
class Lottery:
    """An uncertain outcome.

    Args:
        parts: Texts of the outcomes and their probabilities, which sum to one.
        words: Text of an outcome that implies the lottery without probabilities; empty for an explicit one.
    """

    parts: tuple[tuple[str, float], ...]
    words: str = ""

    def __post_init__(self) -> None:
        total = math.fsum(probability for _, probability in self.parts)
        if len(self.parts) < 2 or not all(0 < p < 1 for _, p in self.parts) or abs(total - 1) > 1e-6:
            raise InputError(
                f"expected two or more outcomes with probabilities that sum to 1, found {self.parts!r:.80}",
                field="probability",
            )

    @property
    def text(self) -> str:
        """Text of the lottery in questions."""
        if self.words:
            return self.words
        digits = _decimals([p for _, p in self.parts])
        listed = "; ".join(f"with a probability of {100 * p:.{digits}f} %: {text}" for text, p in self.parts)
        return f"One of the following happens. {listed[:1].upper()}{listed[1:]}"


def _decimals(probabilities: Sequence[float]) -> int:
    """Fewest decimals of percentages that are right to a thousandth of each probability and its complement:
    what is asked about is the lottery whose expectation is compared."""
    for decimals in range(_MOST_DECIMALS):
        said = [float(f"{100 * p:.{decimals}f}") / 100 for p in probabilities]
        if all(abs(q - p) <= _EXACT * min(p, 1 - p) for p, q in zip(probabilities, said, strict=True)):
            return decimals
    return _MOST_DECIMALS


@dataclass(frozen=True)
class Process:
    """A Markov process whose states are outcomes.

    Args:
        name: Name of the process.
        states: Texts of the states.
        transitions: Probabilities of the next state, shape (states, states); rows of terminal states are 0.
        terminal: Whether each state is terminal.

    Raises:
        InputError: Probabilities do not sum to one, or a state never reaches a terminal one.
    """

    name: str
    states: tuple[str, ...]
    transitions: FloatArray
    terminal: tuple[bool, ...]

    def __post_init__(self) -> None:
        rows = self.transitions.sum(axis=1)
        for state, (total, ends) in enumerate(zip(rows, self.terminal, strict=True)):
            if abs(total - (0.0 if ends else 1.0)) > 1e-6 or (self.transitions[state] < 0).any():
                raise InputError(
                    f"probabilities from state {state} of '{self.name}' must sum to {0 if ends else 1}, "
                    f"found {total:g}",
                    field="transitions",
                )
        reached = np.array(self.terminal)
        for _ in self.states:
            reached = reached | ((self.transitions > 0) @ reached)
        if not reached.all():
            raise InputError(f"a state of '{self.name}' never reaches a terminal state", field="transitions")

    def values(self, utilities: FloatArray) -> FloatArray:
        """Expected utility of the terminal state that is reached from each state, shape (states,).

        Args:
            utilities: Utilities of the states, shape (states,); only those of terminal states are used.
        """
        ends = np.array(self.terminal)
        inner = np.eye(int((~ends).sum())) - self.transitions[np.ix_(~ends, ~ends)]
        values = utilities.copy()
        values[~ends] = np.linalg.solve(inner, self.transitions[np.ix_(~ends, ends)] @ utilities[ends])
        return values


def load_outcomes(path: str | Path) -> list[Outcome]:
    """Read outcomes.

    A JSON file has a list of texts or objects, or an object with such a list for each group. Objects have
    "text" and may have "group" and "scores". A JSON-lines file has such an object in each line. A CSV file
    has the column "text", may have "group", and every other column is an objective's score.

    Args:
        path: File whose name ends in .json, .jsonl or .csv.

    Raises:
        InputError: The file has another form, or an outcome is there twice.
    """
    path = Path(path)
    readers = {".json": _json_outcomes, ".jsonl": _jsonl_outcomes, ".csv": _csv_outcomes}
    if path.suffix not in readers:
        raise InputError("expected a file name that ends in .json, .jsonl or .csv", path=path)
    found: list[Outcome] = []
    for number, outcome in readers[path.suffix](path):
        found.append(outcome)
        if outcome.text in {one.text for one in found[:-1]}:
            raise InputError(f"is there twice: {outcome.text!r:.60}", path=path, row=number, field="text")
    return found


def load_lotteries(path: str | Path) -> list[Lottery]:
    """Read lotteries: a JSON list of objects with "sub_options" (each has "option" and "probability"), and
    "option", the text of an outcome that implies the lottery; without it the probabilities are written out.
    An object with such a list under one key is read as well.

    Raises:
        InputError: The file has another form, or probabilities do not sum to one.
    """
    found: list[Lottery] = []
    for fields in _objects(path):
        parts: list[tuple[str, float]] = []
        part: Any
        for part in fields.get("sub_options", list):
            own = Fields(part, fields.path, fields.number)
            parts.append((own.get("option", str), own.finite("probability")))
        with _in_row(fields):
            found.append(Lottery(tuple(parts), fields.get("option", str, "")))
    return found


def load_processes(path: str | Path) -> list[Process]:
    """Read Markov processes: a JSON list of objects with "name", "states" (each has "id", "observation" and
    "is_terminal"), and "transitions", which maps an id to a list of [id, probability]. An object with such a
    list under one key is read as well.

    Raises:
        InputError: The file has another form, or the processes are not valid.
    """
    found: list[Process] = []
    for fields in _objects(path):
        states = [Fields(state, fields.path, fields.number) for state in fields.get("states", list)]
        places = {str(state.get("id", (int, str))): place for place, state in enumerate(states)}
        matrix = np.zeros((len(states), len(states)))
        for source, targets in fields.get("transitions", dict).items():
            if not is_list(targets):
                raise fields.fail(
                    "transitions", f"expected a list of [id, probability], found {targets!r:.60}"
                )
            for target in targets:
                valid = is_list(target) and len(target) == 2 and isinstance(target[1], int | float)
                if not valid or str(target[0]) not in places or source not in places:
                    raise fields.fail("transitions", f"expected [id, probability], found {target!r:.60}")
                matrix[places[source], places[str(target[0])]] += float(target[1])
        texts = tuple(state.get("observation", str) for state in states)
        ends = tuple(state.get("is_terminal", bool) for state in states)
        name = fields.get("name", str, f"process {fields.number}")
        with _in_row(fields):
            found.append(Process(name, texts, matrix, ends))
    return found


@contextlib.contextmanager
def _in_row(fields: Fields) -> Generator[None]:
    """Add file and row to errors."""
    try:
        yield
    except InputError as error:
        raise InputError(error.message, path=fields.path, row=fields.number, field=error.field) from error


def _objects(path: str | Path) -> Iterator[Fields]:
    content = read_json(path)
    if is_object(content) and len(content) == 1:
        (content,) = content.values()
    if not is_list(content) or not content:
        raise InputError("expected a list of objects", path=path)
    for number, row in enumerate(content, start=1):
        yield Fields(row, Path(path), number)


def _json_outcomes(path: Path) -> Iterator[tuple[int, Outcome]]:
    content = read_json(path)
    groups: Mapping[str, Any] = content if is_object(content) else {"": content}
    number = 0
    for group, rows in groups.items():
        if not is_list(rows):
            raise InputError("expected a list of outcomes", path=path, field=group or None)
        for row in rows:
            number += 1
            yield (
                number,
                _outcome(Fields({"text": row} if isinstance(row, str) else row, path, number), group),
            )


def _jsonl_outcomes(path: Path) -> Iterator[tuple[int, Outcome]]:
    for fields in read_rows(path):
        yield fields.number, _outcome(fields, "")


def _outcome(fields: Fields, group: str) -> Outcome:
    text, group, scores = fields.get("text", str), fields.get("group", str, group), fields.numbers("scores")
    with _in_row(fields):
        return Outcome(text, group, scores)


def _csv_outcomes(path: Path) -> Iterator[tuple[int, Outcome]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            if (twice := repeated(reader.fieldnames or ())) is not None:
                raise InputError("two columns have this name", path=path, row=1, field=twice)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", path=path) from error
    for number, row in enumerate(rows, start=2):
        fields = Fields(row, path, number)
        scores = {name: _number(fields, name) for name in row if name not in ("text", "group")}
        text, group = fields.get("text", str), fields.get("group", str, "")
        with _in_row(fields):
            found = Outcome(text, group, scores)
        yield number, found


def _number(fields: Fields, name: str) -> float:
    try:
        return float(fields.row[name])
    except (TypeError, ValueError):
        raise fields.fail(name, f"expected a number, found {fields.row[name]!r:.60}") from None


def common_objectives(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Objectives that all outcomes have scores for; empty if none has any.

    Raises:
        InputError: Some outcomes have scores for other objectives.
    """
    names = tuple(outcomes[0].scores)
    for row, outcome in enumerate(outcomes, start=1):
        if set(outcome.scores) != set(names):
            raise InputError(
                f"has scores for {', '.join(outcome.scores) or 'nothing'}, the first outcome for "
                f"{', '.join(names) or 'nothing'}",
                row=row,
                field="scores",
            )
    return names
