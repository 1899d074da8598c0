"""Instructions that save and restore checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pluralign.games.choicescript.language.values import FALSE, TRUE, EvaluationError
from pluralign.games.choicescript.run.instructions import Instruction, Machine


@dataclass(slots=True)
class SaveCheckpoint(Instruction):
    """``*save_checkpoint``: saves all variables and the place to return to.

    Args:
        slot: Slot of the checkpoint.
        kept: Slots that checkpoints do not save: achievements, and the checkpoints themselves.
        saved: Slots of the flags for a saved checkpoint.
        restored: Slot of the flag for a restored checkpoint.
        following: Next instruction.
    """

    slot: int
    kept: tuple[int, ...]
    saved: tuple[int, ...]
    restored: int
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots = machine.slots
        slots[self.restored] = FALSE
        for flag in self.saved:
            slots[flag] = TRUE
        held = list(slots)
        for slot in self.kept:
            held[slot] = None
        slots[self.slot] = (self.following, tuple(held), tuple(machine.returns), tuple(machine.frames))
        return self.following


@dataclass(slots=True)
class RestoreCheckpoint(Instruction):
    """``*restore_checkpoint``: restores all variables but the achievements.

    Args:
        slot: Slot of the checkpoint.
        kept: Slots that keep their values: achievements, and the checkpoints themselves.
        restored: Slot of the flag for a restored checkpoint.
        places: Places where play may resume.
    """

    slot: int
    kept: tuple[int, ...]
    restored: int
    places: list[int]

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        found = machine.slots[self.slot]
        if found is None:
            raise EvaluationError("there is no checkpoint to restore: its *save_checkpoint has not run")
        place, slots, returns, frames = found
        kept = [(slot, machine.slots[slot]) for slot in self.kept]
        machine.slots[:] = slots
        for slot, value in kept:
            machine.slots[slot] = value
        machine.slots[self.restored] = TRUE
        machine.returns[:] = returns
        machine.frames[:] = frames
        return place

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(self.places)
