"""Instructions that save and restore checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pluralign.games.choicescript.language.values import EvaluationError
from pluralign.games.choicescript.run.instructions import Instruction, Machine


@dataclass(slots=True)
class SaveCheckpoint(Instruction):
    """``*save_checkpoint``: ``slot`` keeps all variables, and where to return to.

    Args:
        slot: of the checkpoint.
        kept: slots that no checkpoint holds: achievements, and the checkpoints themselves.
        saved: slots of the flags that tell that there is one.
        restored: the slot of the flag that tells that play came back.
    """

    slot: int
    kept: tuple[int, ...]
    saved: tuple[int, ...]
    restored: int
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots = machine.slots
        slots[self.restored] = "false"
        for flag in self.saved:
            slots[flag] = "true"
        held = list(slots)
        for slot in self.kept:
            held[slot] = None
        slots[self.slot] = (self.following, tuple(held), tuple(machine.returns), tuple(machine.frames))
        return self.following


@dataclass(slots=True)
class RestoreCheckpoint(Instruction):
    """``*restore_checkpoint``: everything but achievements is again as it was.

    Args:
        slot: of the checkpoint.
        kept: slots that stay as they are: achievements, and the checkpoints themselves.
        restored: the slot of the flag that tells that play came back.
        places: where it may resume.
    """

    slot: int
    kept: tuple[int, ...]
    restored: int
    places: list[int]

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        found = machine.slots[self.slot]
        if found is None:
            raise EvaluationError("there is no checkpoint to restore: its *save_checkpoint was not passed")
        place, slots, returns, frames = found
        kept = [(slot, machine.slots[slot]) for slot in self.kept]
        machine.slots[:] = slots
        for slot, value in kept:
            machine.slots[slot] = value
        machine.slots[self.restored] = "true"
        machine.returns[:] = returns
        machine.frames[:] = frames
        return place

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(self.places)
