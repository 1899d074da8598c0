"""Steering weights of users: points on the simplex, by objective name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core.errors import InputError
from pluralign.core.jsonl import repeated

SUM_TOLERANCE = 1e-6
_UNITS = 10_000


class SteeringWeights(Mapping[str, float]):
    """Weights of objectives: non-negative, summing to one.

    >>> SteeringWeights(score=0.75, harm_avoidance=0.25)["score"]
    0.75

    Raises:
        InputError: A weight is negative or not finite, or the weights do not sum to one within 1e-6.
    """

    def __init__(self, weights: Mapping[str, Any] | None = None, /, **named: float) -> None:
        if weights is not None and not isinstance(weights, Mapping):
            raise InputError(f"expected weights by objective, found {weights!r:.60}", field="weights")
        given: dict[str, Any] = {**(weights or {}), **named}
        if not given:
            raise InputError("steering weights are empty: name at least one objective")
        for name, weight in given.items():
            if isinstance(weight, bool) or not isinstance(weight, Real):
                raise InputError(f"must be a number, found {weight!r}", field=f"weights.{name}")
            if not math.isfinite(weight) or weight < 0:
                raise InputError(f"must be finite and not negative, found {weight}", field=f"weights.{name}")
        total = math.fsum(given.values())
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise InputError(f"steering weights must sum to 1, found {total:g} over {sorted(given)}")
        self._weights = {name: float(weight) / total for name, weight in given.items()}

    @classmethod
    def parse(cls, text: str) -> SteeringWeights:
        """Parse ``"score=0.7,harm_avoidance=0.3"``, the format of the command line."""
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            name = name.strip()
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not equals or not name or math.isnan(number):
                raise InputError(f"expected NAME=NUMBER,NAME=NUMBER,..., found {part!r}", field="weights")
            if name in weights:
                raise InputError(f"objective '{name}' has two weights", field="weights")
            weights[name] = number
        return cls(weights)

    def to_text(self) -> str:
        """Text that `parse` reads: four digits that sum to one, without weights that are zero."""
        parts = {name: int(weight * _UNITS) for name, weight in self.items()}
        # What rounding down leaves goes to those that lost most by it.
        lost = sorted(self, key=lambda name: parts[name] - self[name] * _UNITS)
        for name in lost[: _UNITS - sum(parts.values())]:
            parts[name] += 1
        return ",".join(f"{name}={part / _UNITS:g}" for name, part in parts.items() if part)

    @classmethod
    def one_hot(cls, name: str, names: Sequence[str] = ()) -> SteeringWeights:
        """All weight on one objective; the others in ``names`` get zero."""
        return cls({**dict.fromkeys(names, 0.0), name: 1.0})

    @classmethod
    def uniform(cls, names: Sequence[str]) -> SteeringWeights:
        """The same weight on every objective."""
        return cls(dict.fromkeys(names, 1.0 / len(names)) if names else {})

    def aligned_to(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """The weights in the order of ``names``, shape (objectives,); objectives without a weight get zero.

        Raises:
            InputError: A weight names an objective that is not in ``names``.
        """
        self.require_known(names)
        return np.array([self._weights.get(name, 0.0) for name in names])

    def require_known(self, names: Sequence[str]) -> None:
        """Raise `InputError` if a weight names an objective outside ``names``."""
        unknown = sorted(set(self._weights) - set(names))
        if unknown:
            raise InputError(
                f"unknown objective {', '.join(map(repr, unknown))}; known: {', '.join(sorted(names))}",
                field="weights",
            )

    def __getitem__(self, name: str) -> float:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __hash__(self) -> int:
        return hash(frozenset(self._weights.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SteeringWeights) and self._weights == other._weights

    def __repr__(self) -> str:
        return f"SteeringWeights({', '.join(f'{n}={w:g}' for n, w in self._weights.items())})"


def simplex_grid(names: Sequence[str], steps: int) -> list[SteeringWeights]:
    """All weightings in multiples of ``1/steps``: ``C(steps + n - 1, n - 1)`` of them. With two objectives,
    the first one's weight increases from 0 to 1.

    Raises:
        InputError: No objective, one that is named twice, or a number of steps that is no positive whole one.

    Examples:
        >>> import pluralign as pl
        >>> [dict(weights) for weights in pl.simplex_grid(["a", "b"], 2)]
        [{'a': 0.0, 'b': 1.0}, {'a': 0.5, 'b': 0.5}, {'a': 1.0, 'b': 0.0}]
    """
    n = len(names)
    if not isinstance(steps, Integral):
        raise InputError(f"expected a whole number, found {steps!r:.60}", field="steps")
    if n == 0 or steps < 1:
        raise InputError(f"a simplex grid needs at least one objective and one step, found {n} and {steps}")
    if (twice := repeated(names)) is not None:
        raise InputError(f"objective {twice!r} is named twice", field="names")
    grid: list[SteeringWeights] = []
    for bars in combinations(range(steps + n - 1), n - 1):
        edges = (-1, *bars, steps + n - 1)
        parts = [edges[i + 1] - edges[i] - 1 for i in range(n)]
        grid.append(SteeringWeights({name: part / steps for name, part in zip(names, parts, strict=True)}))
    return grid
