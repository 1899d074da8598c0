"""Rubrics: criteria that a rater judges one by one, combined by weights and vetoes outside of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.annotate.judge import Judge, ReplyJudge
from pluralign.annotate.rater import Rater, Rating, identity_of, is_answered
from pluralign.core import Comparison, InputError, Objective
from pluralign.core.jsonl import Fields, read_rows
from pluralign.core.preference import Preference

_SIGNS: Mapping[Preference, float] = {"first": 1.0, "tie": 0.0, "second": -1.0}


@dataclass(frozen=True)
class Criterion:
    """One criterion of a rubric.

    Args:
        objective: Name, and description that a rater can judge by.
        weight: Weight, above 0; only ratios of weights matter.
        veto: Whether the criterion decides before all criteria without a veto.
    """

    objective: Objective
    weight: float = 1.0
    veto: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise InputError(f"must be a number above 0, found {self.weight}", field="weight")


@dataclass(frozen=True)
class Rubric:
    """Criteria with weights and vetoes.

    Args:
        criteria: Criteria with different names.
        margin: Largest absolute score that is a tie, from 0 to below 1.

    Raises:
        InputError: There is no criterion, two have the same name, or the margin is out of range.
    """

    criteria: tuple[Criterion, ...]
    margin: float = 0.0

    def __post_init__(self) -> None:
        names = [criterion.objective.name for criterion in self.criteria]
        if not names:
            raise InputError("a rubric needs at least one criterion", field="criteria")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two criteria are named '{twice[0]}'", field="criteria")
        if not 0 <= self.margin < 1:
            raise InputError(f"must be from 0 to below 1, found {self.margin}", field="margin")

    def score(self, preferences: Mapping[str, Preference]) -> float:
        """Weighted mean of the criteria's preferences, from 1 (all prefer the first) to -1.

        A criterion that is a tie counts 0 and keeps its weight in the denominator, so that one light
        criterion does not outweigh ten ties. If the criteria with a veto do not cancel each other, the mean
        is over these alone, however light they are; otherwise it is over all criteria. (OpenRS, Jia et al.
        2026, has the same levels; its mean leaves out ties, and vetoes that cancel each other end it in a
        draw.)

        Args:
            preferences: Preference of each criterion, by name.

        Returns:
            The score; exchanging first and second negates it exactly.
        """
        vetoes = [criterion for criterion in self.criteria if criterion.veto]
        decisive = _mean(vetoes, preferences)
        return decisive or _mean(self.criteria, preferences)

    def decide(self, preferences: Mapping[str, Preference]) -> Preference:
        """The preference that follows from those of the criteria: the sign of the score, or a tie."""
        score = self.score(preferences)
        if abs(score) <= self.margin:
            return "tie"
        return "first" if score > 0 else "second"


def _mean(criteria: Sequence[Criterion], preferences: Mapping[str, Preference]) -> float:
    total = math.fsum(criterion.weight for criterion in criteria)
    parts = [criterion.weight * _SIGNS[preferences[criterion.objective.name]] for criterion in criteria]
    return math.fsum(parts) / total if total else 0.0


def load_rubric(path: str | Path) -> Rubric:
    """Read a rubric: JSON lines with ``name``, ``description`` and, optionally, ``weight`` and ``veto``.

    Raises:
        InputError: The file cannot be read, a row is no criterion or has an unknown field, or two rows have
            the same name.
    """
    path, known = Path(path), ("name", "description", "weight", "veto")
    found: list[Criterion] = []
    for row in read_rows(path):
        if unknown := [field for field in row.row if field not in known]:
            raise row.fail(unknown[0], f"is unknown; a criterion has {', '.join(known)}")
        found.append(_criterion(row))
        names = [criterion.objective.name for criterion in found]
        if names[-1] in names[:-1]:
            raise row.fail("name", f"two criteria are named '{names[-1]}'")
    if not found:
        raise InputError("has no criterion", path=path)
    return Rubric(tuple(found))


def _criterion(row: Fields) -> Criterion:
    name, description = row.get("name", str), row.get("description", str)
    weight, veto = row.finite("weight", 1.0), row.get("veto", bool, False)
    try:
        return Criterion(Objective(name, description), weight, veto)
    except InputError as error:
        raise InputError(error.message, path=row.path, row=row.number, field=error.field) from error


class RubricRater:
    """Judges each criterion of a rubric by itself and combines the answers outside of the model.

    Args:
        rater: Rater that judges a criterion, as it would an objective. It must not depend on the order of
            the two segments: judges present both orders by themselves; wrap others in `BothOrders`.
        rubric: Criteria.

    Examples:
        >>> from pluralign.annotate.both_orders import BothOrders
        >>> from pluralign.annotate.oracle import Oracle
        >>> brevity = Criterion(Objective("brevity", "The answer is short."), weight=2.0)
        >>> RubricRater(BothOrders(Oracle([])), Rubric((brevity,))).name
        'rubric:oracle'
    """

    def __init__(self, rater: Rater, rubric: Rubric) -> None:
        self._rater, self._rubric = rater, rubric

    @property
    def name(self) -> str:
        """``rubric:MODEL``, or ``rubric:`` and the name of a rater that is no judge."""
        rater = self._rater
        return f"rubric:{rater.model if isinstance(rater, Judge | ReplyJudge) else rater.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        criteria = [
            {
                "name": one.objective.name, "description": one.objective.description, "weight": one.weight,
                "veto": one.veto,
            }
            for one in self._rubric.criteria
        ]  # fmt: skip
        return {**self._rater.settings, "criteria": criteria, "margin": self._rubric.margin}

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the model, which changes with its weights; empty if unknown."""
        return identity_of(self._rater)

    @property
    def batch(self) -> int:
        """See `Rater.batch`."""
        return self._rater.batch

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains the ``score`` and the preference by each of the ``criteria``.

        The objective only names the annotations; the criteria replace its description. There is no answer
        without the answers of all criteria; ``unanswered`` says which ones a judge's replies did not give.
        """
        names = [criterion.objective.name for criterion in self._rubric.criteria]
        columns = [self._rater.rate(comparisons, one.objective) for one in self._rubric.criteria]
        return [self._combined(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]

    def _combined(self, ratings: Mapping[str, Rating | None]) -> Rating | None:
        answered = {name: rating for name, rating in ratings.items() if rating is not None}
        if len(answered) < len(ratings):
            return None
        preferences: dict[str, Preference] = {name: rating.preference for name, rating in answered.items()}
        info: dict[str, Any] = {"score": self._rubric.score(preferences), "criteria": preferences}
        missing = [not is_answered(rating) for rating in answered.values()]
        if any(missing):
            info["unanswered"] = missing
        malformed = [reply for rating in answered.values() for reply in rating.info.get("malformed", ())]
        return Rating(
            self._rubric.decide(preferences), info | ({"malformed": malformed} if malformed else {})
        )
