"""Intrinsic rewards of online training, from what a judge thinks of the options (ONI, arXiv 2410.23022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core import Decision, InputError
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.core.checks import require

OptionValues = Callable[[Sequence[Decision]], Sequence[FloatArray | None]]
"""Function from decisions to a value from -1 to 1 of each of their options, or None for a decision that it
cannot judge."""


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """An intrinsic reward: ``weight`` times the option's value, divided by N^``beta``, where N is how often
    the option has been taken, this step included.

    After ONI's retrieval (arXiv 2410.23022): values are asked of a judge while the agent plays, and an option
    earns nothing until it is judged. Replayed steps earn what is known when they are replayed, so that all
    replays of a step agree. Values are bounded instead of standardised by running moments.

    Args:
        values: Values of options, such as the shares of the others that each beats, scaled to -1 to 1.
        weight: Weight of the values, in units of the mean absolute return of random play.
        beta: Exponent of the visits: 0 for rewards that do not fade; ONI's is 3.
        every: Number of rounds (one step in every environment) between questions; 1 asks about each new
            decision when it is met.
        name: Name for the card.

    Raises:
        InputError: A number is out of range.
    """

    values: OptionValues
    weight: float = 0.1
    beta: float = 1.0
    every: int = 64
    name: str = "intrinsic"

    def __post_init__(self) -> None:
        require(self, {"weight": 0, "beta": 0, "every": 1})


class IntrinsicRewards:
    """Values of the options met in a training run, and how often they were taken.

    Args:
        intrinsic: Source and settings.
    """

    def __init__(self, intrinsic: Intrinsic) -> None:
        self._intrinsic = intrinsic
        self._values = np.zeros((0, 1))
        self._visits = np.zeros((0, 1), dtype=np.int64)
        self._known: set[int] = set()
        self._waiting: dict[int, Decision] = {}
        self._round = self.judged = self.unjudged = 0

    def meet(self, numbers: Sequence[int], decisions: Sequence[Decision]) -> None:
        """Take note of decisions by their numbers, and ask about new ones if this is a round that asks.

        Raises:
            InputError: Values are not numbers from -1 to 1, one for each option.
        """
        for number, decision in zip(numbers, decisions, strict=True):
            if number not in self._known:
                self._known.add(number)
                self._grow(number + 1, len(decision.options))
                self._waiting[number] = decision
        if self._round % self._intrinsic.every == 0 and self._waiting:
            self._ask()
        self._round += 1

    def visit(self, numbers: IntArray, actions: IntArray) -> IntArray:
        """Count options as taken, one after another; returns how often each has been, this time included."""
        found = np.empty(len(numbers), dtype=np.int64)
        for i, place in enumerate(zip(numbers, actions, strict=True)):
            self._visits[place] += 1
            found[i] = self._visits[place]
        return found

    def of(self, numbers: IntArray, actions: IntArray, visits: IntArray) -> FloatArray:
        """Rewards of steps by what is known now.

        Args:
            numbers: Numbers of the decisions.
            actions: Options taken.
            visits: What `visit` returned for them.
        """
        fading = np.asarray(visits, dtype=np.float64) ** -self._intrinsic.beta
        return self._intrinsic.weight * self._values[numbers, actions] * fading

    def _ask(self) -> None:
        found = self._intrinsic.values(list(self._waiting.values()))
        for (number, decision), values in zip(self._waiting.items(), found, strict=True):
            if values is None:
                self.unjudged += 1
                continue
            own = np.asarray(values, dtype=np.float64)
            # Also refuses NaN.
            if own.shape != (len(decision.options),) or not (np.abs(own) <= 1).all():
                raise InputError(
                    f"expected {len(decision.options)} numbers from -1 to 1 for {decision.prompt[:40]!r}, "
                    f"found {own.tolist()!r:.60}",
                    field="values",
                )
            self._values[number, : len(own)] = own
            self.judged += 1
        self._waiting.clear()

    def _grow(self, decisions: int, options: int) -> None:
        rows, columns = self._values.shape
        if decisions > rows or options > columns:
            # Twice the rows, so that each is copied once on average.
            shape = (rows if decisions <= rows else max(decisions, 2 * rows), max(options, columns))
            values, visits = np.zeros(shape), np.zeros(shape, dtype=np.int64)
            values[:rows, :columns], visits[:rows, :columns] = self._values, self._visits
            self._values, self._visits = values, visits
