"""A compiled story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.games.choicescript.assignments import Randomise
from pluralign.games.choicescript.instructions import Instruction
from pluralign.games.choicescript.journeys import GotoRandomScene
from pluralign.games.game import GameInfo

STATS = "choicescript_stats"
"""The official engine's stats screen: play comes to it only where a scene calls it."""


@dataclass(frozen=True, slots=True)
class Achievement:
    """A declared achievement."""

    name: str
    title: str
    points: int
    path: str
    line: int


@dataclass(frozen=True)
class Marks:
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


@dataclass(frozen=True)
class Story:
    """A story that can be played. Immutable; games share it.

    Args:
        info: what is known before play.
        folder: where it was read from.
        scenes: each scene's text by its name.
        program: what is played.
        marks: annotations outside of the scenes.
        scene_list: the order of the scenes, where the head has none.
    """

    info: GameInfo
    folder: str
    scenes: Mapping[str, str]
    program: Program
    marks: Marks | None = None
    scene_list: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Identifier, as the command line takes it."""
        return self.info.name

    def __reduce__(self) -> tuple[Callable[..., Story], tuple[Any, ...]]:
        from pluralign.games.choicescript.load import compile_story

        return (compile_story, (self.name, dict(self.scenes), self.folder, self.marks, self.scene_list))
