"""What raters say, and the pairs made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pluralign.core.errors import InputError
from pluralign.core.trajectory import Decision, Segment

Preference = Literal["first", "second", "tie"]
PREFERENCES: tuple[Preference, ...] = ("first", "second", "tie")


@dataclass(frozen=True)
class Comparison:
    """Two segments that a rater is asked about; the order carries no meaning."""

    first: Segment
    second: Segment

    @property
    def id(self) -> str:
        """The two segments' ids: what identifies the comparison across raters."""
        return f"{self.first.id}|{self.second.id}"


@dataclass(frozen=True)
class Annotation:
    """A rater's output on one comparison for one objective, with its provenance.

    Args:
        comparison: the two segments.
        objective: name of the objective asked about.
        rater: who said so: ``oracle``, ``judge:MODEL``, ``human:FILE``.
        preference: which is better on this objective, or a tie.
        info: how it came about: both orders' answers, noise, seed, time.

    Examples:
        >>> import pluralign as pl
        >>> said = pl.Decision("Say:", ("a", "b"))
        >>> segments = [pl.Segment(name, 0, (pl.Step(said, i),)) for i, name in enumerate("xy")]
        >>> from pluralign.core import Comparison
        >>> pl.Annotation(Comparison(*segments), "brevity", "human:me", "first").preference
        'first'
    """

    comparison: Comparison
    objective: str
    rater: str
    preference: Preference
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.preference not in PREFERENCES:
            raise InputError(
                f"must be one of {', '.join(PREFERENCES)}, found {self.preference!r}", field="preference"
            )


@dataclass(frozen=True)
class PreferencePair:
    """``chosen`` and ``rejected`` segments for one objective.

    Args:
        weight: the probability that the label is right, from 0.5 (a soft-labelled tie) to 1.
        rater: whose annotation it was.
        split: train, validation or test; no trajectory appears in two splits.
        margin: by how much chosen is better, where a rater said so (TRL's column ``margin``); in units of
            reward.

    Examples:
        >>> import pluralign as pl
        >>> (pair,) = pl.load_pairs([{"prompt": "Say:", "chosen": " yes", "rejected": " no"}], "agreement")
        >>> pair.texts()
        (('Say:', ' yes'), ('Say:', ' no'))
    """

    chosen: Segment
    rejected: Segment
    objective: str
    rater: str = ""
    weight: float = 1.0
    split: Literal["train", "validation", "test"] = "train"
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.margin):
            raise InputError(f"must be a finite number, found {self.margin}", field="margin")
        if not 0.5 <= self.weight <= 1.0:
            raise InputError(f"must be from 0.5 to 1, found {self.weight}", field="weight")

    def texts(self, *, row: int | None = None) -> tuple[tuple[str, str], tuple[str, str]]:
        """(prompt, completion) of the chosen and of the rejected segment, for pairs of texts.

        Args:
            row: Number of the pair, for the error.

        Raises:
            InputError: A segment has several steps (see `Segment.text`).
        """
        return self.chosen.text(row=row), self.rejected.text(row=row)

    def decisions(self, *, row: int | None = None) -> list[Decision]:
        """The completions to score, the chosen one first: one decision if both answer one prompt, else two.

        Raises:
            InputError: See `texts`.
        """
        (prompt, chosen), (other, rejected) = self.texts(row=row)
        if prompt == other:
            return [Decision(prompt, (chosen, rejected))]
        return [Decision(prompt, (chosen,)), Decision(other, (rejected,))]
