"""Instructions that control the flow of play."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pluralign.games.choicescript.language.values import EvaluationError
from pluralign.games.choicescript.run.instructions import STOPPED, Compiled, Instruction, Machine, SlotOrSet


@dataclass(slots=True)
class Branch(Instruction):
    """``*if``: goes to ``following`` if the condition is true, else to ``otherwise``."""

    condition: Compiled
    following: int
    otherwise: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        return self.following if self.condition(machine.slots) else self.otherwise

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield self.following
        yield self.otherwise


@dataclass(slots=True)
class ComputedTarget:
    """The target of a jump to a label or scene with a computed name.

    Args:
        find: Function from the slots to the target.
        places: All possible targets.
    """

    find: Callable[[list[Any]], int]
    places: tuple[int, ...] = ()


@dataclass(slots=True)
class Jump(Instruction):
    """``*goto``, and jumps that the compiler adds after blocks."""

    target: int
    computed: ComputedTarget | None = field(default=None, kw_only=True)

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        return self.target if self.computed is None else self.computed.find(machine.slots)

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield from (self.target,) if self.computed is None else self.computed.places


@dataclass(slots=True)
class Fault(Instruction):
    """A place that play must not reach.

    Args:
        message: Error message.
        known: Whether compilation has reported it.
        render: Function from the slots to the message, if it is not constant.
    """

    message: str
    known: bool = False
    render: Compiled | None = field(default=None, kw_only=True)

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        raise EvaluationError(self.message if self.render is None else self.render(machine.slots))

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())


@dataclass(slots=True)
class Gosub(Instruction):
    """``*gosub``."""

    target: int
    back: int
    computed: ComputedTarget | None = field(default=None, kw_only=True)

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        target = self.target if self.computed is None else self.computed.find(machine.slots)
        machine.returns.append(self.back)
        return target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield from (self.target,) if self.computed is None else self.computed.places


@dataclass(slots=True)
class LeaveScene(Instruction):
    """``*goto_scene`` and ``*finish``: clears the scene's temporaries; without a target, the game ends.

    Args:
        first: First slot of the scene.
        blank: One None for each slot of the scene.
        target: Next instruction.
        computed: Computed target.
        forgets: Whether calls of ``*gosub_scene`` that have not returned never will (``*goto_scene``).
    """

    first: int
    blank: list[None]
    target: int | None
    computed: ComputedTarget | None = field(default=None, kw_only=True)
    forgets: bool = field(default=False, kw_only=True)

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        target = self.target if self.computed is None else self.computed.find(machine.slots)
        machine.slots[self.first : self.first + len(self.blank)] = self.blank
        machine.returns.clear()
        if self.forgets and machine.frames:
            machine.frames.clear()
            machine.forgotten.add((self.path, self.line))
        if target is None:
            machine.end()
            return STOPPED
        return target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        if self.computed is not None:
            yield from self.computed.places
        elif self.target is not None:
            yield self.target

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        return range(self.first, self.first + len(self.blank))


@dataclass(slots=True)
class GosubScene(Instruction):
    """``*gosub_scene``: keeps the scene's temporaries for the return."""

    first: int
    blank: list[None]
    target: int
    back: int
    computed: ComputedTarget | None = field(default=None, kw_only=True)

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        target = self.target if self.computed is None else self.computed.find(machine.slots)
        last = self.first + len(self.blank)
        kept = tuple(machine.slots[self.first : last])
        machine.frames.append((self.back, self.first, kept, tuple(machine.returns)))
        machine.slots[self.first : last] = self.blank
        machine.returns.clear()
        return target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield from (self.target,) if self.computed is None else self.computed.places


@dataclass(slots=True)
class Return(Instruction):
    """``*return``: to the last ``*gosub`` of this scene, otherwise to the last ``*gosub_scene``."""

    first: int
    blank: list[None]

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        if machine.returns:
            return machine.returns.pop()
        if not machine.frames:
            raise EvaluationError("*return without a *gosub to return to")
        back, first, kept, returns = machine.frames.pop()
        machine.slots[self.first : self.first + len(self.blank)] = self.blank
        machine.slots[first : first + len(kept)] = kept
        machine.returns[:] = returns
        return back

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())


@dataclass(slots=True)
class RandomScene:
    """A line under ``*goto_random_scene``.

    Args:
        name: Name of the scene.
        condition: Condition under which it can be drawn; None for always.
        again: Whether it can be drawn repeatedly.
        target: Place of its own ``*goto_scene``.
    """

    name: str
    condition: Compiled | None
    again: bool
    target: int


@dataclass(slots=True)
class GotoRandomScene(Instruction):
    """``*goto_random_scene``: draws one of the scenes not visited yet; if none is left, play continues."""

    used: int
    scenes: tuple[RandomScene, ...]
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots = machine.slots
        visited: tuple[str, ...] = slots[self.used] or ()
        left = [
            scene
            for scene in self.scenes
            if (scene.again or scene.name not in visited)
            and (scene.condition is None or scene.condition(slots))
        ]
        if not left:
            return self.following
        scene = left[math.floor(machine.draw() * len(left))]
        if not scene.again:
            slots[self.used] = tuple(sorted({*visited, scene.name}))
        return scene.target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield self.following
        yield from (scene.target for scene in self.scenes)


@dataclass(slots=True)
class End(Instruction):
    """``*ending``."""

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.end()
        return STOPPED

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())
