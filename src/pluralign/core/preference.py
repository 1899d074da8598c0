"""Comparisons, annotations by raters, and preference pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pluralign.core.errors import InputError
from pluralign.core.trajectory import Decision, Segment

Preference = Literal["first", "second", "tie"]
PREFERENCES: tuple[Preference, ...] = ("first", "second", "tie")
EXCHANGED: dict[Preference, Preference] = {"first": "second", "second": "first", "tie": "tie"}
"""The same preference with the two segments exchanged."""


Sides = frozenset[tuple[str, tuple[tuple[str, int], ...]]]
"""Segments of a comparison without their order."""


@dataclass(frozen=True)
class Comparison:
    """Two segments for a rater to compare; their order has no meaning."""

    first: Segment
    second: Segment

    @property
    def id(self) -> str:
        """Ids of the two segments, which identify the comparison across raters."""
        return f"{self.first.id}|{self.second.id}"

    @property
    def sides(self) -> Sides:
        """Id and content of both segments, whichever is listed first: what raters' answers are matched
        by."""
        return frozenset((side.id, side.content) for side in (self.first, self.second))


@dataclass(frozen=True)
class Annotation:
    """A rater's output on one comparison for one objective, with its provenance.

    Args:
        comparison: Compared segments.
        objective: Name of the objective of the comparison.
        rater: Name of the rater: ``oracle``, ``judge:MODEL``, ``human:FILE`` or ``human:NAME``.
        preference: The better segment on this objective, or a tie.
        info: Details of the rating: answers in both orders, noise, seed, time.

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
    """A ``chosen`` and a ``rejected`` segment for one objective.

    Args:
        weight: Probability that the label is right, from 0.5 (a soft-labelled tie) to 1.
        rater: Name of the rater.
        split: Train, validation or test; no trajectory appears in two splits.
        margin: Reward difference between chosen and rejected, if a rater gave one (TRL's column ``margin``).

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
            row: Number of the pair, for error messages.

        Raises:
            InputError: A segment has several steps (see `Segment.text`).
        """
        return self.chosen.text(row=row), self.rejected.text(row=row)

    def decisions(self, *, row: int | None = None) -> list[Decision]:
        """Completions to score, the chosen one first: one decision if both have the same prompt, else two.

        Raises:
            InputError: See `texts`.
        """
        (prompt, chosen), (other, rejected) = self.texts(row=row)
        if prompt == other:
            return [Decision(prompt, (chosen, rejected))]
        return [Decision(prompt, (chosen,)), Decision(other, (rejected,))]
