"""Instructions that save and restore checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pluralign.games.choicescript.language.values import FALSE, TRUE, EvaluationError, text
from pluralign.games.choicescript.run.instructions import Compiled, Instruction, Machine

EXCLUSIONS = "checkpoint_exclusions"
"""Variable with the names of the variables that ``*restore_checkpoint`` leaves as they are."""

_PARAGRAPH = "\n\n"


@dataclass(slots=True)
class SaveCheckpoint(Instruction):
    """``*save_checkpoint``: saves all variables and the place to return to.

    Args:
        slot: Slot of the checkpoint.
        parts: Slots that checkpoints save, as slices: all but achievements and the checkpoints themselves.
        saved: Slot of the flag for this saved checkpoint, which is a variable like others.
        restored: Slot of the scene's flag for a restored checkpoint.
        scene: Name of the scene.
        following: Next instruction.
    """

    slot: int
    parts: tuple[slice, ...]
    saved: int
    restored: int
    scene: str
    following: int

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        slots = machine.slots
        slots[self.saved] = TRUE
        slots[self.restored] = TRUE
        held = tuple([tuple(slots[part]) for part in self.parts])
        slots[self.restored] = FALSE
        slots[self.slot] = (self.following, held, tuple(machine.returns), tuple(machine.frames), self.scene)
        return self.following


@dataclass
class Exclusions:
    """Variables that a ``*restore_checkpoint`` leaves as they are.

    Args:
        names: Function from the slots to their names, in a text.
        story: Slot of each variable of the story.
        own: Slot of each temporary variable of the scene.
        scenes: The same for every scene.
    """

    names: Compiled
    story: Mapping[str, int]
    own: Mapping[str, int]
    scenes: Mapping[str, Mapping[str, int]]

    def find(self, machine: Machine, scene: str) -> Iterator[tuple[int, object]]:
        """The slots, after a return to a scene, and their values."""
        slots = machine.slots
        for name in text(self.names(slots)).lower().split():
            story, own = self.story.get(name), self.own.get(name)
            if story is not None:
                yield story, slots[story]
            if own is not None and slots[own] is not None and name in self.scenes[scene]:
                yield self.scenes[scene][name], slots[own]


@dataclass(slots=True)
class RestoreCheckpoint(Instruction):
    """``*restore_checkpoint``: restores all variables but the achievements and the excluded ones.

    Args:
        slot: Slot of the checkpoint.
        parts: Slots that checkpoints save, as slices.
        saved: Slot of the flag for this saved checkpoint.
        places: Places where play may resume.
        excluded: Variables that keep their values; None if the story declares none.
    """

    slot: int
    parts: tuple[slice, ...]
    saved: int
    places: list[int]
    excluded: Exclusions | None = field(default=None, kw_only=True)

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        found = machine.slots[self.slot]
        if found is None or machine.slots[self.saved] != TRUE:
            raise EvaluationError("there is no checkpoint to restore: its *save_checkpoint has not run")
        place, held, returns, frames, scene = found
        kept = list(self.excluded.find(machine, scene)) if self.excluded is not None else []
        for part, values in zip(self.parts, held, strict=True):
            machine.slots[part] = values
        for slot, value in kept:
            machine.slots[slot] = value
        machine.returns[:] = returns
        machine.frames[:] = frames
        # The page shows whole paragraphs only.
        shown = "".join(machine.shown)
        machine.shown[:] = [shown[: shown.rfind(_PARAGRAPH) + len(_PARAGRAPH)] if _PARAGRAPH in shown else ""]
        return place

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(self.places)
