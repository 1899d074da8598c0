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
"""The official engine's stats screen: play comes to it only where a scene calls it."""


@dataclass(frozen=True)
class LineAnnotations:
    """Annotations that stand outside of the scenes, as MACHIAVELLI's do.

    Args:
        annotations: each in the form of `harms.check_annotation`.
        lines: for each scene the annotation of each of its lines, by index.
    """

    annotations: tuple[Mapping[str, Any], ...]
    lines: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Program:
    """A compiled story's instructions and what they refer to. Nothing changes it after compilation.

    Args:
        instructions: all scenes', one after the other.
        entry: where play begins.
        slots: the values that play begins with.
        live: for each choice's program counter, the slots that play may still read from there.
        annotations: by index.
        achievements: in order of declaration.
        won: the slot of each, which is true once it is won.
        variables: the slot of each global variable.
        strict: whether a defect refused the story; else play is refused where it comes to one.
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
        """Whether play draws lots."""
        return any(isinstance(i, Randomise | GotoRandomScene) for i in self.instructions)
