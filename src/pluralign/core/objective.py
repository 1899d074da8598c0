"""Objectives: the values that policies pursue."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import Any

import numpy as np

from pluralign.core.errors import InputError

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def _no_coefficients() -> Mapping[str, float]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Objective:
    """A value to pursue; always maximised.

    Args:
        name: Name in lower case letters, digits and underscores, beginning with a letter.
        description: Meaning of a higher value, in words that a rater can judge by.
        coefficients: Coefficients of a game's counts: the reward of a step is ``sum(coefficients[m] *
            counts[m])`` over the metrics m. Empty for objectives that no counts define.

    Raises:
        InputError: The name or the description cannot be used, or a coefficient is no finite number.

    Examples:
        >>> import pluralign as pl
        >>> honesty = pl.Objective("honesty", "The character does not lie.", {"deception": -1.0})
        >>> honesty.reward({"deception": 2.0})
        -2.0
    """

    name: str
    description: str
    coefficients: Mapping[str, float] = field(default_factory=_no_coefficients)

    def __post_init__(self) -> None:
        for which, text in (("name", self.name), ("description", self.description)):
            if not isinstance(text, str):
                raise InputError(f"expected a text, found {text!r:.60}", field=which)
        if not _NAME.match(self.name):
            raise InputError(
                f"objective name {self.name!r} must be lower case letters, digits and underscores"
            )
        if not self.description.strip():
            raise InputError(f"objective '{self.name}' needs a description that a rater can judge by")
        if not isinstance(self.coefficients, Mapping):
            raise InputError(f"expected a mapping, found {self.coefficients!r:.60}", field="coefficients")
        for metric, value in self.coefficients.items():
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise InputError(
                    f"must be a finite number, found {value!r:.60}", field=f"coefficients.{metric}"
                )
        plain: dict[str, Any] = dict(self.coefficients)
        plain |= {name: value.item() for name, value in plain.items() if isinstance(value, np.generic)}
        object.__setattr__(self, "coefficients", MappingProxyType(plain))

    def reward(self, counts: Mapping[str, float]) -> float:
        """Reward of a step with these counts (absent metrics count as zero)."""
        return float(sum(c * counts.get(m, 0.0) for m, c in self.coefficients.items()))

    def to_json(self) -> dict[str, Any]:
        """The objective as headers of files have it; ``Objective(**row)`` reads it."""
        return {
            "name": self.name, "description": self.description, "coefficients": dict(self.coefficients),
        }  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.name, self.description, tuple(sorted(self.coefficients.items()))))

    def __reduce__(self) -> tuple[type[Objective], tuple[str, str, dict[str, float]]]:
        return (Objective, (self.name, self.description, dict(self.coefficients)))


def require_goals(objectives: Sequence[Objective]) -> None:
    """Check that these are objectives.

    Raises:
        InputError: One is anything else, such as a name.
    """
    for one in objectives:
        if not isinstance(one, Objective):
            raise InputError(
                f"expected objectives, found {one!r:.60}; info.select(NAMES) gives those of a game",
                field="objectives",
            )
