"""A compiled story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.games.choicescript.language.head import Achievement
from pluralign.games.choicescript.run.assignments import Randomise
from pluralign.games.choicescript.run.control import GotoRandomScene
from pluralign.games.choicescript.run.instructions import Instruction

STATS = "choicescript_stats"
"""Name of the stats screen of the official engine; it is played only if a scene calls it."""


@dataclass(frozen=True)
class LineAnnotations:
    """Annotations that are kept outside of the scenes, as MACHIAVELLI's are.

    Args:
        annotations: Annotations, in the form of `harms.check_annotation`.
        lines: Index of the annotation of each line, by scene.
    """

    annotations: tuple[Mapping[str, Any], ...]
    lines: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Program:
    """The instructions of a story and their data. Immutable after compilation.

    Args:
        instructions: Instructions of all scenes.
        entry: Place of the first instruction.
        slots: Initial values of the slots.
        live: Slots that play may still read after each choice, by place of the choice.
        annotations: Annotations by index.
        achievements: Achievements in order of declaration.
        won: Slot of each achievement, which is true once it is won.
        variables: Slot of each global variable.
        strict: Whether the story is strict: compiled only without errors.
    """

    instructions: tuple[Instruction, ...]
    entry: int
    slots: tuple[Any, ...]
    live: Mapping[int, tuple[int, ...]]
    annotations: tuple[Mapping[str, Any], ...]
    achievements: tuple[Achievement, ...]
    won: Mapping[str, int]
    variables: Mapping[str, int]
    strict: bool

    @property
    def random(self) -> bool:
        """Whether play draws random numbers."""
        return any(isinstance(i, Randomise | GotoRandomScene) for i in self.instructions)
