"""What a program is made of: instructions that a machine steps through.

Every instruction knows its file and line, runs in one method, and names its successors, so that the
interpreter and the checker read the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

Compiled = Callable[[list[Any]], Any]
"""A compiled expression: a function from the slots to its value."""

STOPPED = -1
"""The program counter of a machine that waits at a choice or has ended."""

Frame = tuple[int, int, tuple[Any, ...], tuple[int, ...]]
"""What ``*gosub_scene`` keeps: where to return to, the scene's first slot, its slots, its own returns."""


@dataclass(frozen=True)
class Question:
    """What ``*input_text`` and ``*input_number`` ask.

    Args:
        variable: that takes the answer.
        low: the least number; None where text is asked for.
        high: the greatest number; None where text is asked for.
        path: the scene's file.
        line: in it, from 1.
    """

    variable: str
    low: float | None
    high: float | None
    path: str
    line: int

    @property
    def whole(self) -> bool:
        """Whether the number must be whole: where both bounds are."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Ask = Callable[[Question], str | float]
"""Answers a question."""


class Machine(Protocol):
    """What instructions act on.

    Attributes:
        slots: the variables' values: globals, achievements, then each scene's temporaries.
        shown: pieces of the text shown since the last choice.
        passed: indices of the annotations passed since the last choice.
        points: unlocked since the last choice.
        returns: the ``*gosub`` stack of the running scene.
        frames: the ``*gosub_scene`` stack.
        initial: the slots that play began with.
    """

    slots: list[Any]
    shown: list[str]
    passed: list[int]
    points: int
    returns: list[int]
    frames: list[Frame]
    initial: tuple[Any, ...]

    def draw(self) -> float:
        """The next random number, 0 or more and below 1."""
        ...

    def ask(self, question: Question) -> str | float:
        """What the player types."""
        ...

    def present(self, texts: tuple[str, ...], options: tuple[Option, ...]) -> None:
        """Stop at a choice and list these options."""
        ...

    def end(self) -> None:
        """End the game."""
        ...


@dataclass(slots=True)
class Instruction:
    """One step of a program.

    Args:
        path: the scene's file.
        line: in it, from 1.
        reads: slots that it reads.
        written: whether an author wrote it; False for the joints that the compiler adds.
    """

    path: str
    line: int
    reads: frozenset[int] = field(default=frozenset(), kw_only=True)
    written: bool = field(default=True, kw_only=True)

    def run(self, machine: Machine) -> int:
        """Act, and return the next program counter (`STOPPED` to stop)."""
        raise NotImplementedError

    def successors(self, here: int) -> Iterator[int]:
        """Where the program may go on from here without a choice; `Return` alone is the caller's matter."""
        yield here + 1

    def writes(self) -> Iterator[int]:
        """Slots that it overwrites whatever they held."""
        return iter(())


@dataclass(slots=True)
class Option:
    """An option of a choice.

    Args:
        text: as printed, where it is constant.
        render: makes the text from the slots, where it is not.
        guard: whether it is shown (``*if``); None where it always is.
        selectable: whether it can be chosen (``*selectable_if``); None where it always can.
        used: the slot that remembers that it was taken; None where nothing asks.
        mode: its own reuse mode (``allow``, ``hide``, ``disable``); None where the scene's default holds.
        default: the slot of the scene's default mode; None where the scene sets none.
        target: the first instruction of its body.
    """

    path: str
    line: int
    text: str
    render: Compiled | None
    guard: Compiled | None
    selectable: Compiled | None
    used: int | None
    mode: str | None
    default: int | None
    target: int
    reads: frozenset[int]

    @property
    def always_listed(self) -> bool:
        """Whether every visit lists it, and with the same text."""
        return self.render is None and self.guard is None and self.selectable is None and self.used is None

    def is_listed(self, slots: list[Any]) -> bool:
        """Whether the player can take it. A disabled option counts as not listed."""
        if self.guard is not None and not self.guard(slots):
            return False
        if self.selectable is not None and not self.selectable(slots):
            return False
        return self.used is None or slots[self.used] is None or self.reuse(slots) in (None, "allow")

    def reuse(self, slots: list[Any]) -> str | None:
        """The reuse mode that holds now."""
        if self.mode is not None or self.default is None:
            return self.mode
        return slots[self.default]


@dataclass(slots=True)
class Show(Instruction):
    """Print text: constant, or rendered from the slots."""

    text: str
    render: Compiled | None
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.shown.append(self.text if self.render is None else self.render(machine.slots))
        return self.following


@dataclass(slots=True)
class Annotate(Instruction):
    """``*comment pluralign {...}``: what the player does here."""

    index: int
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.passed.append(self.index)
        return self.following


@dataclass(slots=True)
class Achieve(Instruction):
    """``*achieve``: unlocks an achievement, once."""

    name: str
    slot: int
    points: int
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        if not machine.slots[self.slot]:
            machine.slots[self.slot] = True
            machine.points += self.points
        return self.following


@dataclass(slots=True)
class SetReuse(Instruction):
    """``*hide_reuse`` and its like on a line of their own: the scene's default from here on."""

    slot: int
    mode: str | None
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.slots[self.slot] = self.mode
        return self.following

    def writes(self) -> Iterator[int]:
        """See `Instruction.writes`."""
        yield self.slot
