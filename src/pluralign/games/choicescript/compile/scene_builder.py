"""Builder of a scene's instructions, slots, text and links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from pluralign.core import InputError
from pluralign.games.choicescript.compile.context import (
    STARTUP,
    UNRESOLVED,
    CompileContext,
    Link,
    by_array,
)
from pluralign.games.choicescript.compile.scope import Scope
from pluralign.games.choicescript.language.expressions import parse_template
from pluralign.games.choicescript.language.parser import BLANK, TEXT, Node
from pluralign.games.choicescript.language.syntax import Expression, Template
from pluralign.games.choicescript.language.values import FALSE, Truth, text
from pluralign.games.choicescript.problems import WARNING
from pluralign.games.choicescript.run.assignments import Create
from pluralign.games.choicescript.run.control import (
    ComputedTarget,
    Fault,
    Gosub,
    GosubScene,
    Jump,
    LeaveScene,
)
from pluralign.games.choicescript.run.instructions import Annotate, Compiled, Instruction, Show

# The official engine adds no space after a line that ends with one of these.
_NO_SPACE_AFTER = ("-", "\u2011", "\u2012", "\u2013", "\u2014", "[c/]")


class SceneBuilder:
    """Appends one scene's instructions to the context.

    Args:
        context: Context of the story.
        scene: Name of the scene.

    Attributes:
        scope: Variables that the scene can name.
        first: First slot of the scene; its slots are contiguous.
        blank: One None for each slot of the scene, shared with the instructions that clear them.
        default_reuse: Slot of the scene's reuse mode, if a command sets one.
    """

    def __init__(self, context: CompileContext, scene: str) -> None:
        self.context = context
        self.scene = scene
        constants = {**context.constants, "choice_scene": scene}
        self.scope = Scope(
            context.globals, context.achievements, constants, context.deleted, context.beginning
        )
        self.first = context.slots
        self.blank: list[None] = []
        self.default_reuse: int | None = None
        self._line_annotations = context.line_annotations.get(scene, ())
        self._text: list[str] = []
        self._text_node: Node | None = None

    @cached_property
    def arrays(self) -> Mapping[str, Mapping[str, int]]:
        """Slots of the temporary variables in each array, by name of the array."""
        return by_array(self.scope.own)

    def new_slot(self) -> int:
        """A new slot of this scene."""
        self.blank.append(None)
        self.context.slots += 1
        return self.context.slots - 1

    def place(self) -> int:
        """Place of the next instruction."""
        if self._text_node is not None:
            node, shown = self._text_node, "".join(self._text)
            self._text, self._text_node = [], None
            here = len(self.context.instructions)
            written = bool(shown.strip())
            self.context.instructions.append(
                Show(node.path, node.line, shown, None, here + 1, written=written)
            )
        return len(self.context.instructions)

    def emit(self, instruction: Instruction) -> None:
        """Append an instruction."""
        self.place()
        self.context.instructions.append(instruction)

    def constant(self, node: Node, shown: str) -> None:
        """Print constant text; adjacent text becomes one instruction."""
        if self._text_node is None or (self._text_node.command == BLANK and node.command == TEXT):
            self._text_node = node
        self._text.append(shown)

    def annotate_line(self, node: Node, after: Node | None) -> None:
        """Add the line's annotation, if it has one outside of the scenes.

        Args:
            node: Line.
            after: Line above it in its block; text with the same annotation remains one instruction.
        """
        index = self._annotation_of(node.line)
        if index is None:
            return
        if after is None or after.command not in (TEXT, BLANK) or self._annotation_of(after.line) != index:
            here = self.place()
            self.emit(Annotate(node.path, node.line, index, here + 1, written=False))

    def annotate_lines(self, path: str, before: int) -> None:
        """Add the annotations of the lines above line ``before``, which are not played themselves."""
        last: int | None = None
        for line in range(1, before):
            index = self._annotation_of(line)
            if index is not None and index != last:
                here = self.place()
                self.emit(Annotate(path, line, index, here + 1, written=False))
            last = index

    def _annotation_of(self, line: int) -> int | None:
        return self._line_annotations[line - 1] if line <= len(self._line_annotations) else None

    def nothing_after(self, node: Node) -> None:
        """Check that nothing follows a command, which the official engine ignores.

        Raises:
            InputError: Something follows, and the story is compiled strictly.
        """
        if node.data and self.context.strict:
            raise node.error(f"expected nothing after *{node.command}, found {node.data!r}")

    def warn(self, node: Node, message: str) -> None:
        """Report what the official engine warns of; play goes on."""
        self.context.report(WARNING, node.error(f"warning: {message}"))

    def fault(self, error: InputError, *, kind: str = "syntax", node: Node | None = None) -> None:
        """Report an error, and stop play with it where play reaches this place.

        Args:
            error: Error to report.
            kind: Kind of error (see `Problem`).
            node: Line of the error, if the error names none.
        """
        self.context.report(kind, error)
        line = error.row or (node.line if node else 0)
        path = str(error.path or (node.path if node else ""))
        self.emit(Fault(path, line, error.message, known=True, written=False))

    def prose(self, node: Node) -> None:
        """Print a line of text.

        Raises:
            ExpressionError: A value in it is malformed.
        """
        template = parse_template(node.data)
        if template.constant is not None:
            self.constant(node, _line(template.constant, spaced=node.spaced))
        elif isinstance(template.parts[-1], str):
            ending = _line(template.parts[-1], spaced=node.spaced)
            self.printed(node, Template((*template.parts[:-1], ending)))
        else:
            # The last value decides whether a space follows.
            self.printed(node, template, line=True)

    def printed(self, node: Node, template: Template, *, line: bool = False) -> None:
        """Print text with values in it.

        Args:
            node: Line.
            template: Text.
            line: Whether a space follows it, unless it ends with a dash.

        Raises:
            ExpressionError: A variable in it is unknown.
        """
        render, reads = self.scope.expression(template), self.scope.reads(template)
        if line:
            render = _rendered_line(render, spaced=node.spaced)
        self.emit(Show(node.path, node.line, "", render, self.place() + 1, reads=reads))

    def link(
        self,
        node: Node,
        instruction: Jump | Gosub | LeaveScene | GosubScene,
        scene: str | Expression,
        label: str | Expression | None,
    ) -> None:
        """Let an instruction's target be resolved once all scenes are compiled.

        Args:
            node: Line of the instruction.
            instruction: Instruction with the target.
            scene: Name of the scene, or the expression that computes it in play.
            label: Name of the label, or its expression; None for the beginning of the scene.

        Raises:
            ExpressionError: An expression names an unknown variable.
        """
        if (label is None or isinstance(label, str)) and isinstance(scene, str):
            self.context.links.append(Link(node, instruction, scene, label))
            return
        make_scene, make_label = self._maker(scene), self._maker(label)
        where = self.context

        def find(slots: list[Any]) -> int:
            return where.find(str(make_scene(slots)), make_label(slots))

        instruction.computed = ComputedTarget(find)
        instruction.reads |= self.scope.reads(*(e for e in (scene, label) if e and not isinstance(e, str)))
        # A computed label can be any label of its scene, a computed scene any scene.
        fixed = scene if isinstance(scene, str) else None
        self.context.links.append(Link(node, instruction, fixed, label if isinstance(label, str) else None))

    def _maker(self, name: str | Expression | None) -> Callable[[list[Any]], str | None]:
        if name is None or isinstance(name, str):
            return lambda slots: name
        make = self.scope.expression(name)
        return lambda slots: text(make(slots)).lower()

    @cached_property
    def kept_arguments(self) -> int | None:
        """Slot for the arguments of the scene while it calls another; None if no scene takes any."""
        return None if self.context.arguments is None else self.new_slot()

    def move(self, node: Node, source: int | None, target: int | None) -> None:
        """Copy a slot's content to another, if there are such slots."""
        if source is None or target is None:
            return
        here, reads = self.place(), frozenset({source})
        copy = Create(node.path, node.line, target, lambda slots: slots[source], here + 1, written=False)
        copy.reads = reads
        self.emit(copy)

    def mark_created(self, node: Node, created: Truth) -> None:
        """Record whether the first scene has created its variables since play came to it, if that matters."""
        slot = self.context.created
        if slot is not None and self.scene == STARTUP:
            self.emit(
                Create(node.path, node.line, slot, lambda slots: created, self.place() + 1, written=False)
            )

    def finish(self, node: Node, *, written: bool) -> None:
        """Continue with the next scene of the list, or end after the last."""
        following = self.context.scene_after.get(self.scene)
        leave = LeaveScene(node.path, node.line, self.first, self.blank, None, written=written)
        if following is not None:
            self.mark_created(node, FALSE)
            leave.target = UNRESOLVED
            self.link(node, leave, following, None)
        self.constant(Node(node.path, node.line, 0, BLANK, ""), "\n\n")
        self.emit(leave)


def _rendered_line(render: Compiled, *, spaced: bool) -> Compiled:
    return lambda slots: _line(render(slots), spaced=spaced)


def _line(shown: str, *, spaced: bool) -> str:
    """A line of text with the space that separates it from the next."""
    return shown if shown.endswith(_NO_SPACE_AFTER) and not spaced else shown + " "
