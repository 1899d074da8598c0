"""State that the scenes of a story share during compilation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pluralign.core import InputError
from pluralign.games.choicescript.compile.scope import BUILTIN, IMPLICIT, SAVED
from pluralign.games.choicescript.language.head import Head
from pluralign.games.choicescript.language.parser import Node
from pluralign.games.choicescript.language.values import FALSE, EvaluationError, Value, truthy
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.run.checkpoints import RestoreCheckpoint, SaveCheckpoint
from pluralign.games.choicescript.run.control import Gosub, GosubScene, Jump, LeaveScene
from pluralign.games.choicescript.run.instructions import Instruction

UNRESOLVED = -1
"""Target of a jump that is not known yet."""

STARTUP = "startup"
"""Name of the first scene, which declares title, variables and achievements at its top."""

RESTORED = "choice_just_restored_checkpoint"
"""Variable of a scene that is true after a return to its checkpoint."""


@dataclass(frozen=True)
class Link:
    """An instruction whose target is resolved once all scenes are compiled.

    Args:
        node: Line of the instruction.
        instruction: Instruction to resolve.
        scene: Name of the scene; None if it is computed in play.
        label: Name of the label; None for the beginning of the scene, or if it is computed in play.
    """

    node: Node
    instruction: Jump | Gosub | LeaveScene | GosubScene
    scene: str | None
    label: str | None


@dataclass
class CompileContext:
    """State that the scenes of a story share during compilation.

    Args:
        head: Declarations of ``startup.txt``.
        strict: Whether any error refuses the story; otherwise errors stop play where it reaches them.
        globals: Slot of each global variable.
        achievements: Slot of each achievement.
        slots: Number of slots so far.
        deleted: Names of global variables that some ``*delete`` removes.
        most_arguments: Largest number of arguments of a subroutine.
        arguments: Slot of the last call's arguments; None if no subroutine takes any.
        visited: Slot of the scenes drawn by ``*goto_random_scene``.
        implicit: Whether play falls out of options and into ``*else``; None if commands change it in play.
        checkpoints: Slot of each checkpoint.
        resume: Places where play resumes from each checkpoint.
        scenes: Slot of each temporary variable, by scene.
        line_annotations: Index of the annotation of each line of each scene, for annotations that are kept
            outside of the scenes.
        instructions: Instructions so far.
        annotations: Annotations so far.
        labels: Place of each label, by scene and name.
        entries: Place of the beginning of each scene.
        links: Instructions to resolve.
        problems: Errors found so far.
    """

    head: Head
    strict: bool
    globals: dict[str, int]
    achievements: dict[str, int]
    slots: int
    deleted: frozenset[str] = frozenset()
    most_arguments: int = 0
    arguments: int | None = None
    visited: int | None = None
    implicit: bool | None = False
    checkpoints: dict[str, int] = field(default_factory=dict[str, int])
    resume: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    scenes: dict[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    line_annotations: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    instructions: list[Instruction] = field(default_factory=list[Instruction])
    annotations: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    labels: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    entries: dict[str, int] = field(default_factory=dict[str, int])
    links: list[Link] = field(default_factory=list[Link])
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def constants(self) -> dict[str, Value]:
        """Values of the variables that the engine provides."""
        return {**BUILTIN, "choice_title": self.head.title}

    @property
    def kept(self) -> tuple[int, ...]:
        """Slots that checkpoints do not save: achievements, and the checkpoints themselves."""
        return (*self.achievements.values(), *self.checkpoints.values())

    def report(self, kind: str, error: InputError) -> None:
        """Record an error and continue, so that a check finds all errors."""
        self.problems.append(Problem.of(error, kind))

    def new_slot(self) -> int:
        """A new slot that belongs to no scene."""
        self.slots += 1
        return self.slots - 1

    def find(self, scene: str, label: str | None) -> int:
        """Place of a scene or of a label in it.

        Args:
            scene: Name of the scene.
            label: Name of the label; None for the beginning of the scene.

        Raises:
            EvaluationError: It does not exist.
        """
        if scene not in self.entries:
            raise EvaluationError(f"there is no scene '{scene}'")
        place = self.entries[scene] if label is None else self.labels.get((scene, label))
        if place is None:
            raise EvaluationError(f"there is no label '{label}' in scene '{scene}'")
        return place

    def places(self, link: Link) -> Iterator[int]:
        """Possible targets of a jump to a computed label or scene."""
        if link.scene is None:
            yield from self.entries.values()
        for (scene, label), place in self.labels.items():
            if link.scene in (None, scene) and link.label in (None, label):
                yield place

    def resolve_checkpoints(self) -> None:
        """Let checkpoints save all slots; called once all scenes are compiled."""
        everything = frozenset(range(self.slots))
        for instruction in self.instructions:
            if isinstance(instruction, SaveCheckpoint):
                instruction.reads = everything
                instruction.kept = self.kept
            elif isinstance(instruction, RestoreCheckpoint):
                instruction.reads |= frozenset(self.kept)
                instruction.kept = self.kept


_CHANGES = frozenset({"set", "setref", "config", "temp", "params", "rand", "input_text", "input_number"})
_CALLS = frozenset({"gosub", "gosub_scene", "goto_scene", "redirect_scene"})


def prepare(head: Head, trees: Mapping[str, Sequence[Node]], *, strict: bool) -> CompileContext:
    """A new context with the slots that belong to no scene.

    Args:
        head: Declarations of ``startup.txt``.
        trees: Lines of each scene.
        strict: Whether any error refuses the story.
    """
    lines = [node for tree in trees.values() for node in all_nodes(tree)]
    names = [*head.variables, *_checkpoint_flags(lines), *(f"*{name}" for name in head.achievements)]
    slots = {name: slot for slot, name in enumerate(names)}
    commands = {node.command for node in lines}
    context = CompileContext(
        head,
        strict,
        globals={name: slot for name, slot in slots.items() if not name.startswith("*")},
        achievements={name: slots[f"*{name}"] for name in head.achievements},
        slots=len(names),
        deleted=frozenset(_deleted(head, lines)),
    )
    if "params" in commands:
        context.arguments = context.new_slot()
        # An upper bound: each word of a call is at most one argument.
        context.most_arguments = max(
            (len(node.data.split()) for node in lines if node.command in _CALLS), default=0
        )
    changes = (node.command in _CHANGES and IMPLICIT in node.data.lower() for node in lines)
    context.implicit = None if any(changes) else truthy(head.variables.get(IMPLICIT, FALSE))
    if "goto_random_scene" in commands:
        context.visited = context.new_slot()
    for name in _checkpoints(lines):
        context.checkpoints[name] = context.new_slot()
        context.resume[name] = []
    return context


def all_nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    """All lines of a tree, in order."""
    for node in nodes:
        yield node
        yield from all_nodes(node.block)


def _checkpoints(lines: Sequence[Node]) -> list[str]:
    commands = ("save_checkpoint", "restore_checkpoint")
    return sorted({node.data.lower() for node in lines if node.command in commands})


def _checkpoint_flags(lines: Sequence[Node]) -> list[str]:
    names = _checkpoints(lines)
    return [saved_flag(name) for name in names]


def saved_flag(checkpoint: str) -> str:
    """Name of the variable that is true once a checkpoint is saved."""
    return f"{SAVED}_{checkpoint}" if checkpoint else SAVED


def _deleted(head: Head, lines: Sequence[Node]) -> Iterator[str]:
    for node in lines:
        if node.command == "delete":
            yield node.data.lower()
        elif node.command == "delete_array":
            pattern = re.compile(rf"{re.escape(node.data.lower())}_(count|\d+)")
            yield from filter(pattern.fullmatch, head.variables)
