"""Instructions of a program, and the machine state that they act on.

Every instruction knows its file and line, its effect and its successors, so that the game and the checker use
the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pluralign.games.choicescript.run.questions import Question

Compiled = Callable[[list[Any]], Any]
"""A compiled expression: a function from the slots to its value."""

SlotOrSet = int | frozenset[int]
"""A slot, or a set of slots that many instructions share."""


def runs(slots: Iterable[int]) -> tuple[slice, ...]:
    """Slots as slices of adjacent ones."""
    found: list[slice] = []
    for slot in sorted(slots):
        start = found.pop().start if found and found[-1].stop == slot else slot
        found.append(slice(start, slot + 1))
    return tuple(found)


STOPPED = -1
"""Program counter of a machine that waits at a choice or has ended."""

Frame = tuple[int, int, tuple[Any, ...], tuple[int, ...]]
"""Stack frame of ``*gosub_scene``: return place, first slot of the scene, its slots, its ``*gosub`` stack."""


class Machine(Protocol):
    """The machine state that instructions act on.

    Attributes:
        slots: Values of the variables: globals, achievements, then the temporaries of each scene.
        shown: Pieces of the text shown since the last choice.
        passed: Indices of the annotations passed since the last choice.
        points: Points won since the last choice.
        returns: ``*gosub`` stack of the current scene.
        frames: ``*gosub_scene`` stack.
        initial: Initial values of the slots.
        forgotten: File and line of each ``*goto_scene`` that left a called scene without a ``*return``.
    """

    slots: list[Any]
    shown: list[str]
    passed: list[int]
    points: int
    returns: list[int]
    frames: list[Frame]
    initial: tuple[Any, ...]
    forgotten: set[tuple[str, int]]

    def draw(self) -> float:
        """The next random number, 0 or more and below 1."""
        ...

    def ask(self, question: Question) -> str | float:
        """The player's answer."""
        ...

    def present(self, texts: tuple[str, ...], options: tuple[Option, ...]) -> None:
        """Stop at a choice and list these options."""
        ...

    def end(self) -> None:
        """End the game."""
        ...


@dataclass(slots=True)
class Instruction:
    """An instruction of a program.

    Args:
        path: File of the scene.
        line: Number of the line, from 1.
        reads: Slots that it reads.
        written: Whether the author wrote it; False for instructions that the compiler adds.
    """

    path: str
    line: int
    reads: frozenset[SlotOrSet] = field(default=frozenset(), kw_only=True)
    written: bool = field(default=True, kw_only=True)

    def run(self, machine: Machine) -> int:
        """Execute, and return the next program counter (`STOPPED` to stop)."""
        raise NotImplementedError

    def successors(self, here: int) -> Iterator[int]:
        """Possible next places without a choice; those of `Return` are left to the caller."""
        yield here + 1

    def writes(self) -> Iterable[SlotOrSet]:
        """Slots that it always overwrites."""
        return ()


@dataclass(slots=True)
class Option:
    """An option of a choice.

    Args:
        path: File of the scene.
        line: Number of the line, from 1.
        text: Text, if it is constant.
        render: Function from the slots to the text, if it is not constant.
        guard: Condition of the ``*if`` on its own line; None for always.
        selectable: Condition under which it can be chosen (``*selectable_if``); None for always.
        used: Slot that records that it was taken; None if that has no effect.
        mode: Reuse mode of its own (``allow``, ``hide``, ``disable``); None for the scene's default.
        default: Slot of the scene's default mode; None if the scene sets none.
        target: First instruction of its body.
        reads: Slots that it reads.
        fault: Error of a line that is no option, where play must not come; "" for an option.
        empty: Whether it has no lines under it.
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
    reads: frozenset[SlotOrSet]
    fault: str = ""
    empty: bool = False

    @property
    def always_listed(self) -> bool:
        """Whether it is always listed, with the same text."""
        fixed = self.render is None and self.guard is None and self.selectable is None and self.used is None
        return fixed and not self.fault

    def is_shown(self, slots: list[Any]) -> bool:
        """Whether the player sees it, if only as disabled."""
        if self.guard is not None and not self.guard(slots):
            return False
        return self.used is None or slots[self.used] is None or self.reuse(slots) != "hide"

    def is_listed(self, slots: list[Any]) -> bool:
        """Whether the player can take it; disabled options are not listed."""
        if self.guard is not None and not self.guard(slots):
            return False
        if self.selectable is not None and not self.selectable(slots):
            return False
        return self.used is None or slots[self.used] is None or self.reuse(slots) in (None, "allow")

    def reuse(self, slots: list[Any]) -> str | None:
        """The current reuse mode."""
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
    """``*comment pluralign {...}``: an annotation."""

    index: int
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.passed.append(self.index)
        return self.following


@dataclass(slots=True)
class Achieve(Instruction):
    """``*achieve``: awards an achievement once."""

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
    """``*hide_reuse`` and similar commands on a line of their own: sets the scene's default reuse mode."""

    slot: int
    mode: str | None
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.slots[self.slot] = self.mode
        return self.following

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        yield self.slot
