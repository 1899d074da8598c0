"""The interface that raters stand behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pluralign.core import Comparison, Objective
from pluralign.core.preference import Preference


@dataclass(frozen=True)
class Rating:
    """A rater's answer to one comparison, and how it came about (goes into `Annotation.info`)."""

    preference: Preference
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Rater(Protocol):
    """Anything that says which of two segments serves an objective better."""

    @property
    def name(self) -> str:
        """Goes into `Annotation.rater`: ``oracle``, ``judge:MODEL``, ``human:FILE``."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that its answers depend on beside the comparison and the objective, as JSON values: a
        file annotated under other settings is not continued."""
        ...

    @property
    def batch(self) -> int:
        """How many comparisons it wants at once; what is written to the disk at once."""
        ...

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """One rating for each comparison, None where it has no answer (yet). Each depends on its
        comparison and the objective alone."""
        ...
