"""The interface of raters.

A rater is any object with the four members of `Rater`. It needs no base class and no registration:
`annotate` takes it directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pluralign.core import Comparison, Objective
from pluralign.core.preference import Preference


@dataclass(frozen=True)
class Rating:
    """A rater's answer to one comparison, with details for `Annotation.info`."""

    preference: Preference
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])


def is_answered(rating: Rating | None) -> bool:
    """Whether there is an answer in every order: a judge's replies that name none are a tie in annotations,
    and are no answer where answers are counted."""
    return rating is not None and not any(rating.info.get("unanswered", ()))


class Rater(Protocol):
    """A rater: decides which of two segments is better by an objective."""

    @property
    def name(self) -> str:
        """Name of the rater, for `Annotation.rater`: ``oracle``, ``judge:MODEL``, ``human:FILE``."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All other settings that the answers depend on, as JSON values; a file annotated under other
        settings is not continued."""
        ...

    @property
    def batch(self) -> int:
        """Number of comparisons that are rated and written to the file at once."""
        ...

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """Rate comparisons: one rating for each, or None for no answer. Each rating depends only on its
        comparison and the objective."""
        ...


def identity_of(rater: object) -> dict[str, Any]:
    """What changes with the weights of a rater's model, as JSON values; empty if unknown."""
    return dict(getattr(rater, "identity", {}))
