"""Conflicts between two values: by which of them did an agent act more?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.core import Decision, InputError
from pluralign.core.choice import Choice, Question
from pluralign.core.jsonl import is_list, is_object
from pluralign.data.cells import built, cell_of, is_empty, number_of, person_of, plain
from pluralign.data.choices import open_choices
from pluralign.data.source import Data, Table

# The highest score of an item of a rubric.
_FULL = 2.0


def load_contests(data: Data, sides: Sequence[str], *, person: str = "") -> list[Choice]:
    """Read cases in which two values conflict as choices between values.

    Each case has the names of two values and how well an agent adhered to each; the value with the higher
    score was preferred, and equal scores count half for either. The two options of such a choice have value 1
    for their own objective and 0 for all others, so that `infer_weights` with ``scales`` of 1 is the
    Bradley-Terry model of the values with strengths on the simplex.

    A score is a number, or a list of a rubric's items, each with ``score`` (0, 1 or 2) and perhaps
    ``weight``: adherence is sum(weight x score) / (2 sum(weight)).

    Args:
        data: See `load_pairs`.
        sides: Columns of the two values' names and scores, as NAMES=SCORES.
        person: Column of the agent; without it, all rows are of one agent.

    Raises:
        InputError: A column is missing, a score is no number, the two values are one, or the values fall into
            groups that no case connects, so that they cannot be compared.

    Examples:
        >>> rows = [{"a": "care", "b": "fairness", "for_a": 0.9, "for_b": 0.4}]
        >>> (choice,) = load_contests(rows, ["a=for_a", "b=for_b"])
        >>> choice.question.decision.options[choice.answer], dict(choice.question.values[0])
        ('care', {'care': 1.0, 'fairness': 0.0})
    """
    columns = [one.partition("=")[::2] for one in sides]
    if len(columns) != 2 or not all(name and score for name, score in columns):
        raise InputError(f"expected NAMES=SCORES twice, found {' '.join(sides)!r}", field="sides")
    table = open_choices(data, person)
    cases: list[tuple[int, str, tuple[str, str], tuple[float, float]]] = []
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        (one, first), (other, second) = (
            (_name(table, number, row, names), _adherence(table, number, cell_of(table, number, row, of), of))
            for names, of in columns
        )
        if one == other:
            raise table.error(f"both values are {one!r:.60}", row=number, field=columns[1][0])
        cases.append((number, person_of(table, number, row, person), (one, other), (first, second)))
    if not cases:
        raise table.error("holds no case")
    names = list(dict.fromkeys(name for _, _, both, _ in cases for name in both))
    pairs: dict[str, list[tuple[str, str]]] = {}
    for _, who, both, _ in cases:
        pairs.setdefault(who, []).append(both)
    for who, own in pairs.items():
        _require_connected(table, who, own)
    found: list[Choice] = []
    for number, who, both, (first, second) in cases:
        values = tuple({name: float(name == own) for name in names} for own in both)
        question = built(
            table, number, lambda n=number, b=both, v=values: Question(Decision(f"row {n}", b), v)
        )
        taken = (0, 1) if first == second else (0,) if first > second else (1,)
        part_of = question.decision.prompt if len(taken) > 1 else ""
        found += [Choice(question, place, who, 1.0 / len(taken), part_of) for place in taken]
    return found


def _name(table: Table, number: int, row: Mapping[str, Any], column: str) -> str:
    found = plain(cell_of(table, number, row, column))
    if not found:
        raise table.error("is empty; expected the name of a value", row=number, field=column)
    return found


def _adherence(table: Table, number: int, cell: Any, column: str) -> float:
    if not is_list(cell):
        return number_of(table, number, cell, column)
    total = weights = 0.0
    for item in cell:
        if not is_object(item) or is_empty(item.get("score")):
            raise table.error(f"expected items with a score, found {item!r:.60}", row=number, field=column)
        score = number_of(table, number, item["score"], column)
        weight = 1.0 if is_empty(item.get("weight")) else number_of(table, number, item["weight"], column)
        if not 0 <= score <= _FULL or weight <= 0:
            raise table.error(
                f"expected scores from 0 to 2 and weights above 0, found {item!r:.60}",
                row=number, field=column,
            )  # fmt: skip
        total, weights = total + weight * score, weights + weight
    if not weights:
        raise table.error("has no items", row=number, field=column)
    return total / (_FULL * weights)


def _require_connected(table: Table, who: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Refuse values that no chain of cases connects."""
    reached = {pairs[0][0]}
    grown = True
    while grown:
        grown = False
        for one, other in pairs:
            if (one in reached) != (other in reached):
                reached |= {one, other}
                grown = True
    left = sorted({name for both in pairs for name in both} - reached)
    if left:
        of = f" of {who}" if who else ""
        raise table.error(
            f"no cases{of} connect {', '.join(sorted(reached)):.120} with {', '.join(left):.120}, "
            "so that they cannot be compared"
        )
