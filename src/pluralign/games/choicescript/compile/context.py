"""State that the scenes of a story share during compilation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from pluralign.core import InputError
from pluralign.games.choicescript.compile.scope import BUILTIN, IMPLICIT, SAVED
from pluralign.games.choicescript.language.head import Head
from pluralign.games.choicescript.language.parser import Node
from pluralign.games.choicescript.language.values import FALSE, EvaluationError, Value, truthy
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.run.checkpoints import RestoreCheckpoint, SaveCheckpoint
from pluralign.games.choicescript.run.control import Gosub, GosubScene, Jump, LeaveScene
from pluralign.games.choicescript.run.instructions import Instruction, SlotOrSet, runs

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
        created: Slot that is true until the first scene is left, during which it may not create its variables
            again; None if it leads nowhere to its own beginning.
        implicit: Whether play falls out of options and into ``*else``; None if commands change it in play.
        checkpoints: Slot of each checkpoint.
        resume: Places where play resumes from each checkpoint.
        scenes: Slot of each temporary variable, by scene.
        beginning: See `Scope`.
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
    created: int | None = None
    implicit: bool | None = False
    checkpoints: dict[str, int] = field(default_factory=dict[str, int])
    resume: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    scenes: dict[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    beginning: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    line_annotations: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    instructions: list[Instruction] = field(default_factory=list[Instruction])
    annotations: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    labels: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    entries: dict[str, int] = field(default_factory=dict[str, int])
    links: list[Link] = field(default_factory=list[Link])
    problems: list[Problem] = field(default_factory=list[Problem])
    _places: dict[tuple[str | None, str | None], tuple[int, ...]] = field(
        default_factory=dict[tuple[str | None, str | None], tuple[int, ...]], init=False
    )

    @property
    def constants(self) -> dict[str, Value]:
        """Values of the variables that the engine provides."""
        return {**BUILTIN, "choice_title": self.head.title}

    @property
    def kept(self) -> tuple[int, ...]:
        """Slots that checkpoints do not save: achievements, and the checkpoints themselves."""
        return (*self.achievements.values(), *self.checkpoints.values())

    @cached_property
    def resets(self) -> frozenset[int]:
        """Slots that ``*reset`` sets to their initial values."""
        # The official engine keeps a mode that was set in play.
        found = frozenset(slot for name, slot in self.globals.items() if name != IMPLICIT)
        return found if self.visited is None else found | {self.visited}

    @cached_property
    def reset_parts(self) -> tuple[slice, ...]:
        """The same slots as slices."""
        return runs(self.resets)

    @cached_property
    def arrays(self) -> Mapping[str, Mapping[str, int]]:
        """Slots of the story's variables in each array, by name of the array."""
        return by_array(self.globals)

    @cached_property
    def scene_after(self) -> dict[str, str]:
        """The next scene of the list, by scene."""
        return dict(pairwise(self.head.scenes))

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

    def places(self, scene: str | None, label: str | None) -> tuple[int, ...]:
        """Possible targets of jumps to a computed label or scene; equal jumps share the tuple.

        Args:
            scene: Name of the scene; None if it is computed.
            label: Name of the label; None if it is computed, or for the beginning of the scene.
        """
        if (scene, label) not in self._places:
            entries = self.entries.values() if scene is None else ()
            found = (
                place
                for (its_scene, its_label), place in self.labels.items()
                if scene in (None, its_scene) and label in (None, its_label)
            )
            self._places[scene, label] = (*entries, *found)
        return self._places[scene, label]

    def resolve_checkpoints(self) -> None:
        """Let checkpoints save all slots; called once all scenes are compiled."""
        everything, kept = frozenset(range(self.slots)), frozenset(self.kept)
        saved = runs(everything - kept)
        for instruction in self.instructions:
            if isinstance(instruction, SaveCheckpoint):
                instruction.reads = frozenset[SlotOrSet]((everything,))
                instruction.parts = saved
            elif isinstance(instruction, RestoreCheckpoint):
                instruction.reads |= frozenset[SlotOrSet]((kept,))
                instruction.parts = saved


_CHANGES = frozenset({"set", "setref", "config", "temp", "params", "rand", "input_text", "input_number"})
_JUMPS = frozenset({"gosub_scene", "goto_scene", "redirect_scene"})
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
    if head.variables and any(map(_restarts, all_nodes(trees[STARTUP]))):
        context.created = context.new_slot()
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


def _restarts(node: Node) -> bool:
    return node.command in _JUMPS and node.data.lower() == STARTUP


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
    arrays = by_array(dict.fromkeys(head.variables, 0))
    for node in lines:
        if node.command == "delete":
            yield node.data.lower()
        elif node.command == "delete_array":
            yield from arrays.get(node.data.lower(), ())


def by_array(slots: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The variables that are elements of an array or its count, by name of the array."""
    found: dict[str, dict[str, int]] = {}
    for name, slot in slots.items():
        array, _, element = name.rpartition("_")
        if element == "count" or (element.isascii() and element.isdecimal()):
            found.setdefault(array, {})[name] = slot
    return found
