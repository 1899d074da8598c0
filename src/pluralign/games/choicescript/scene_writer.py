"""Where the compilers of scenes write: instructions, slots, labels, links and problems."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pluralign.core import InputError
from pluralign.games.choicescript import expressions
from pluralign.games.choicescript.codegen import compile_expression
from pluralign.games.choicescript.control import Gosub, GosubScene, Jump, LeaveScene
from pluralign.games.choicescript.expressions import Expression, ExpressionError
from pluralign.games.choicescript.head import Head
from pluralign.games.choicescript.instructions import Instruction, Show
from pluralign.games.choicescript.parser import BLANK, TEXT, Node
from pluralign.games.choicescript.problems import Problem

STILL_OPEN = -1
"""A target that is not known yet."""

# The official engine joins a line that ends with one of these to the next without a space.
_HYPHENS = "-\u2011\u2012\u2013\u2014"
_MARKUP = re.compile(r"\[/?[bi]\]")


class UnknownVariable(ExpressionError):
    """An expression reads a variable that nothing declares."""


@dataclass(frozen=True)
class Link:
    """An instruction that still has to learn where a label or a scene is."""

    node: Node
    instruction: Jump | Gosub | LeaveScene | GosubScene
    scene: str
    label: str | None


@dataclass
class Workshop:
    """What all scenes of a story share while they are compiled.

    Args:
        head: what ``startup.txt`` declares.
        globals: the slot of each global variable.
        achievements: the slot of each achievement.
        slots: how many slots there are so far.
    """

    head: Head
    globals: dict[str, int]
    achievements: dict[str, int]
    slots: int
    instructions: list[Instruction] = field(default_factory=list[Instruction])
    annotations: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    labels: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    entries: dict[str, int] = field(default_factory=dict[str, int])
    links: list[Link] = field(default_factory=list[Link])
    problems: list[Problem] = field(default_factory=list[Problem])

    def report(self, kind: str, error: InputError) -> None:
        """Note a problem and go on, so that a check finds more than the first."""
        self.problems.append(Problem.of(error, kind))


class SceneWriter:
    """Writes one scene's instructions into the workshop.

    Attributes:
        temporaries: the slot of each ``*temp`` variable of the scene.
        first: the scene's first slot; its slots lie side by side.
        blank: one None for each of them, shared with the instructions that clear them.
        default_reuse: the slot of the scene's reuse mode, where a command sets one.
    """

    def __init__(self, workshop: Workshop, scene: str) -> None:
        self.workshop = workshop
        self.scene = scene
        self.temporaries: dict[str, int] = {}
        self.first = workshop.slots
        self.blank: list[None] = []
        self.default_reuse: int | None = None
        self._text: list[str] = []
        self._text_node: Node | None = None

    def new_slot(self) -> int:
        """A further slot of this scene."""
        self.blank.append(None)
        self.workshop.slots += 1
        return self.workshop.slots - 1

    def place(self) -> int:
        """Where the next instruction will stand."""
        if self._text_node is not None:
            node, text = self._text_node, "".join(self._text)
            self._text, self._text_node = [], None
            here = len(self.workshop.instructions)
            written = bool(text.strip())
            self.workshop.instructions.append(
                Show(node.path, node.line, text, None, here + 1, written=written)
            )
        return len(self.workshop.instructions)

    def emit(self, instruction: Instruction) -> None:
        """Write an instruction."""
        self.place()
        self.workshop.instructions.append(instruction)

    def constant(self, node: Node, text: str) -> None:
        """Print constant text; what stands side by side becomes one instruction."""
        if self._text_node is None or (self._text_node.command == BLANK and node.command == TEXT):
            self._text_node = node
        self._text.append(text)

    def prose(self, node: Node) -> None:
        """Print a line of text.

        Raises:
            ExpressionError: a value in it cannot be read.
        """
        template = self.template(node.data)
        ending = "" if node.data.endswith(tuple(_HYPHENS)) else " "
        if template.constant is not None:
            self.constant(node, template.constant + ending)
            return
        whole = expressions.Template((*template.parts, ending))
        render, reads = compile_expression(whole, self.resolve), self.reads(template)
        self.emit(Show(node.path, node.line, "", render, self.place() + 1, reads=reads))

    def template(self, text: str) -> expressions.Template:
        """Text with values in it, its bold and italics taken off.

        Raises:
            ExpressionError: a value in it cannot be read.
        """
        return expressions.parse_template(_MARKUP.sub("", text))

    def resolve(self, name: str) -> str:
        """Python source that reads a variable; a temporary hides a global once its ``*temp`` has run.

        Raises:
            UnknownVariable: nothing declares it.
        """
        slot, fallback = self.temporaries.get(name), self.workshop.globals.get(name)
        if slot is None:
            if fallback is None:
                raise UnknownVariable(
                    f"unknown variable '{name}': no *create and no *temp of this scene makes it"
                )
            return f"v[{fallback}]"
        if fallback is None:
            return f"read_temporary(v[{slot}])"
        return f"(v[{fallback}] if v[{slot}] is None else read_temporary(v[{slot}]))"

    def reads(self, *read: Expression) -> frozenset[int]:
        """The slots that expressions read."""
        tables = (self.temporaries, self.workshop.globals)
        names = {name for expression in read for name in expressions.variables(expression)}
        return frozenset(table[name] for name in names for table in tables if name in table)

    def link(
        self,
        node: Node,
        instruction: Jump | Gosub | LeaveScene | GosubScene,
        scene: str,
        label: str | None,
    ) -> None:
        """Have an instruction's target filled in once every scene is compiled."""
        self.workshop.links.append(Link(node, instruction, scene, label))

    def finish(self, node: Node, *, written: bool) -> None:
        """Go on to the next scene of the list, or end after the last."""
        scenes = self.workshop.head.scenes
        following = scenes.index(self.scene) + 1 if self.scene in scenes else len(scenes)
        leave = LeaveScene(node.path, node.line, self.first, self.blank, None, written=written)
        if following < len(scenes):
            self.link(node, leave, scenes[following], None)
        self.constant(Node(node.path, node.line, 0, BLANK, ""), "\n\n")
        self.emit(leave)
