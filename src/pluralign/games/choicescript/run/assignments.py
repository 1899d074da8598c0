"""Instructions that create, change and delete variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pluralign.games.choicescript.language.head import MOST_ELEMENTS
from pluralign.games.choicescript.language.values import (
    NO_VALUE,
    NOT_CREATED,
    EvaluationError,
    Value,
    is_whole,
    number,
    numeric,
    text,
    tidy,
)
from pluralign.games.choicescript.run.instructions import Compiled, Instruction, Machine, SlotOrSet
from pluralign.games.choicescript.run.questions import Question

Find = Callable[[list[Any]], int]
"""A function from the slots to the slot of a variable."""


@dataclass(slots=True)
class Assign(Instruction):
    """``*set`` of a temporary variable.

    Args:
        slot: Slot of the variable.
        evaluate: New value.
        following: Next instruction.
        fallback: Slot of the global that it may hide.
    """

    slot: int
    evaluate: Compiled
    following: int
    fallback: int | None = None

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        value = self.evaluate(machine.slots)
        slot = self.slot
        if machine.slots[slot] is None:
            if self.fallback is None:
                raise EvaluationError("the *temp of the variable set here has not been passed yet")
            slot = self.fallback
        machine.slots[slot] = value
        return self.following

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        if self.fallback is None:
            yield self.slot


@dataclass(slots=True)
class Create(Instruction):
    """``*temp``, with or without a value, and ``*set`` of a global."""

    slot: int
    evaluate: Compiled | None
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.slots[self.slot] = NO_VALUE if self.evaluate is None else self.evaluate(machine.slots)
        return self.following

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        yield self.slot


@dataclass(slots=True)
class AssignTo(Instruction):
    """``*set`` of a variable with a computed name."""

    find: Find
    evaluate: Compiled
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        value = self.evaluate(machine.slots)
        machine.slots[self.find(machine.slots)] = value
        return self.following


@dataclass(slots=True)
class CreateAgain(Instruction):
    """``*create`` of all variables again, where play returns to the first scene.

    Args:
        found: Slots of the variables.
        parts: The same as slices.
        following: Next instruction.
    """

    found: frozenset[int]
    parts: tuple[slice, ...]
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        for part in self.parts:
            machine.slots[part] = machine.initial[part]
        return self.following

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        return (self.found,)


@dataclass(slots=True)
class Reset(CreateAgain):
    """``*reset``: all variables of the story, and what the engine remembers of it."""

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.frames.clear()
        return CreateAgain.run(self, machine)


@dataclass(slots=True)
class Delete(Instruction):
    """``*delete``: the temporary variable if there is one, otherwise the story's."""

    find: Find
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.slots[self.find(machine.slots)] = NOT_CREATED
        return self.following


@dataclass(slots=True)
class DeleteArray(Instruction):
    """``*delete_array``: the array's size, and as many elements.

    Args:
        name: Name of the array.
        own: Slot of each temporary variable.
        story: Slot of each variable of the story.
        following: Next instruction.
    """

    name: str
    own: Mapping[str, int]
    story: Mapping[str, int]
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots, count = machine.slots, f"{self.name}_count"
        for table in (self.own, self.story):
            if count in table and slots[table[count]] is not NOT_CREATED:
                size = slots[table[count]]
                slots[table[count]] = NOT_CREATED
                for index in range(
                    1, min(int(number(size)), MOST_ELEMENTS) + 1 if size is not NO_VALUE else 0
                ):
                    if f"{self.name}_{index}" in table:
                        slots[table[f"{self.name}_{index}"]] = NOT_CREATED
                return self.following
        raise EvaluationError(f"there is no array '{self.name}' here")


def _bound(value: Value) -> int | float:
    found = numeric(value)
    if found is None or not math.isfinite(found):
        raise EvaluationError(f"not a number: {text(value)!r}")
    return found


@dataclass(slots=True)
class Randomise(Instruction):
    """``*rand``: a whole number if both bounds are whole (`is_whole`); equal bounds give the first."""

    find: Find
    low: Compiled
    high: Compiled
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        lowest, highest = self.low(machine.slots), self.high(machine.slots)
        low, high = _bound(lowest), _bound(highest)
        if high < low:
            raise EvaluationError(f"*rand from {text(low)} to {text(high)}: the first must be smaller")
        drawn = machine.draw()
        if low == high:
            value = lowest
        elif is_whole(lowest) and is_whole(highest):
            value = low + math.floor(drawn * (high - low + 1))
        else:
            value = tidy(low + drawn * (high - low))
        machine.slots[self.find(machine.slots)] = value
        return self.following


@dataclass(slots=True)
class Input(Instruction):
    """``*input_text`` and ``*input_number``."""

    name: str
    find: Find
    bounds: tuple[Compiled, Compiled] | None
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots, low, high = machine.slots, None, None
        if self.bounds is not None:
            lowest, highest = self.bounds[0](slots), self.bounds[1](slots)
            low, high = _bound(lowest), _bound(highest)
            if not (is_whole(lowest) and is_whole(highest)):
                low, high = float(low), float(high)
            if high < low:
                raise EvaluationError(f"there is no number from {text(low)} to {text(high)}")
        slots[self.find(slots)] = machine.ask(Question(self.name, low, high, self.path, self.line))
        return self.following


@dataclass(slots=True)
class Arguments(Instruction):
    """Stores the arguments of a ``*gosub`` or ``*goto_scene`` for ``*params``."""

    slot: int
    values: tuple[Compiled, ...]
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        machine.slots[self.slot] = tuple([value(machine.slots) for value in self.values])
        return self.following

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        yield self.slot


@dataclass(slots=True)
class Params(Instruction):
    """``*params``: names the arguments; ``param_count``, ``param_1`` and so on hold them, too."""

    slot: int
    count: int
    numbered: tuple[int, ...]
    named: tuple[int, ...]
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots = machine.slots
        arguments = slots[self.slot]
        if arguments is None:
            raise EvaluationError("*params without a *gosub, *gosub_scene or *goto_scene before it")
        if len(arguments) < len(self.named):
            raise EvaluationError(f"*params expects {len(self.named)} values, found {len(arguments)}")
        slots[self.count] = len(arguments)
        for into in (self.numbered, self.named):
            for slot, value in zip(into, arguments, strict=False):
                slots[slot] = value
        # A second *params finds nothing.
        slots[self.slot] = ()
        return self.following

    def writes(self) -> Iterable[SlotOrSet]:
        """See `Instruction.writes`."""
        yield self.slot
        yield self.count
        yield from self.named
