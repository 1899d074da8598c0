"""Instructions that decide where play goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pluralign.games.choicescript.codegen import Compiled
from pluralign.games.choicescript.instructions import STOPPED, Instruction, Machine, Option
from pluralign.games.choicescript.operators import EvaluationError


@dataclass(slots=True)
class Branch(Instruction):
    """``*if``: goes on where the condition holds, elsewhere where it does not."""

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
class Jump(Instruction):
    """``*goto``, and the joints that the compiler adds."""

    target: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        return self.target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield self.target


@dataclass(slots=True)
class Fault(Instruction):
    """A place that play must not come to."""

    message: str

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        raise EvaluationError(self.message)

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())


@dataclass(slots=True)
class Gosub(Instruction):
    """``*gosub``."""

    target: int
    back: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.returns.append(self.back)
        return self.target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield self.target


@dataclass(slots=True)
class LeaveScene(Instruction):
    """``*goto_scene`` and ``*finish``: the scene's temporaries are lost. No target ends the game."""

    first: int
    blank: list[None]
    target: int | None

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.slots[self.first : self.first + len(self.blank)] = self.blank
        machine.returns.clear()
        if self.target is None:
            machine.end()
            return STOPPED
        return self.target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        if self.target is not None:
            yield self.target

    def writes(self) -> Iterator[int]:
        """See `Instruction.writes`."""
        yield from range(self.first, self.first + len(self.blank))


@dataclass(slots=True)
class GosubScene(Instruction):
    """``*gosub_scene``: the scene's temporaries wait for the return."""

    first: int
    blank: list[None]
    target: int
    back: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        last = self.first + len(self.blank)
        kept = tuple(machine.slots[self.first : last])
        machine.frames.append((self.back, self.first, kept, tuple(machine.returns)))
        machine.slots[self.first : last] = self.blank
        machine.returns.clear()
        return self.target

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        yield self.target


@dataclass(slots=True)
class Return(Instruction):
    """``*return``: to the last ``*gosub`` of this scene, or else to the last ``*gosub_scene``."""

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
class End(Instruction):
    """``*ending``."""

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.end()
        return STOPPED

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())


@dataclass(slots=True)
class Choose(Instruction):
    """``*choice`` and ``*fake_choice``: stops and lists its options."""

    options: tuple[Option, ...]
    fixed: tuple[str, ...] | None = None

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        if self.fixed is not None:
            machine.present(self.fixed, self.options)
            return STOPPED
        slots = machine.slots
        listed = tuple([option for option in self.options if option.is_listed(slots)])
        if not listed:
            raise EvaluationError("no option of this choice can be taken here")
        texts = tuple([o.text if o.render is None else o.render(slots) for o in listed])
        machine.present(texts, listed)
        return STOPPED

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())
