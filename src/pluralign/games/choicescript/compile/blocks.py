"""Compilation of a scene's lines: blocks and conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pluralign.core import InputError
from pluralign.games.choicescript.compile.choices import ChoiceCompiler
from pluralign.games.choicescript.compile.commands.handlers import HANDLERS
from pluralign.games.choicescript.compile.commands.text import REUSE_MODES
from pluralign.games.choicescript.compile.context import (
    RESTORED,
    STARTUP,
    UNRESOLVED,
    CompileContext,
    all_nodes,
)
from pluralign.games.choicescript.compile.falling import ends_with_blank, implicit_flow, join, leave
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.compile.scope import UnknownVariable
from pluralign.games.choicescript.language.expressions import parse
from pluralign.games.choicescript.language.head import HEAD_COMMANDS, array_values
from pluralign.games.choicescript.language.parser import (
    BLANK,
    CONTINUATIONS,
    FAULT,
    OPTION_PREFIXES,
    TEXT,
    Node,
)
from pluralign.games.choicescript.language.syntax import ExpressionError
from pluralign.games.choicescript.language.values import TRUE
from pluralign.games.choicescript.run.assignments import CreateAgain
from pluralign.games.choicescript.run.control import Branch, Jump
from pluralign.games.choicescript.run.instructions import runs


def compile_scene(context: CompileContext, name: str, nodes: Sequence[Node], last: Node) -> None:
    """Compile a scene into the context, which collects its errors.

    Args:
        context: Context of the story.
        name: Name of the scene.
        nodes: Lines of the scene, without the head of ``startup.txt``.
        last: ``*finish`` at the end of the file.
    """
    scene = SceneBuilder(context, name)
    context.scenes[name] = scene.scope.own
    for node in all_nodes(nodes):
        for variable in _temporaries(node, context.most_arguments):
            if variable not in scene.scope.own:
                scene.scope.own[variable] = scene.new_slot()
        if node.command in REUSE_MODES and not node.is_option and scene.default_reuse is None:
            scene.default_reuse = scene.new_slot()
    context.entries[name] = scene.place()
    if name == STARTUP and context.head.variables:
        # A return to the first scene creates the variables again.
        created = frozenset(context.globals[variable] for variable in context.head.variables)
        following = scene.place() + 1
        scene.emit(CreateAgain(last.path, 1, created, runs(created), following, written=False))
        scene.mark_created(last, TRUE)
    if name == STARTUP and context.head.spaced:
        scene.constant(Node(last.path, 1, 0, BLANK, ""), "\n\n")
    # The head of startup.txt is not played, but its lines' annotations are passed.
    scene.annotate_lines(last.path, nodes[0].line if nodes else last.line + 1)
    _SceneCompiler(scene).block(nodes)
    scene.finish(last, written=False)


def _temporaries(node: Node, most_arguments: int) -> Iterator[str]:
    if node.command == "temp":
        yield node.data.split(" ")[0].lower()
    elif node.command == "params":
        yield from (*node.data.lower().split(), "param_count")
        yield from (f"param_{i + 1}" for i in range(most_arguments))
    elif node.command == "save_checkpoint":
        yield RESTORED
    elif node.command == "temp_array":
        try:
            yield from (name for name, _ in array_values(node))
        except (InputError, ExpressionError):
            # Compiling the line reports the error.
            return


class _SceneCompiler:
    def __init__(self, scene: SceneBuilder) -> None:
        self.scene = scene

    def block(self, nodes: Sequence[Node]) -> None:
        """Compile lines of one indentation."""
        position, above = 0, None
        while position < len(nodes):
            node = nodes[position]
            position += 1
            self.scene.annotate_line(node, above)
            above = node
            if node.command != "if" or node.is_option:
                self._attempt(node, lambda node=node: self._line(node))
                continue
            chain = [node]
            while chain[-1].command != "else":
                following = _continuation(nodes, position)
                if following is None:
                    break
                if any(skipped.command == BLANK for skipped in nodes[position:following]):
                    chain[-1].block.append(Node(node.path, node.line, 0, BLANK, ""))
                chain.append(nodes[following])
                position = following + 1
            self._attempt(node, lambda chain=chain: self._conditional(chain))

    def _attempt(self, node: Node, action: Callable[[], None]) -> None:
        try:
            action()
        except UnknownVariable as error:
            self.scene.fault(node.error(str(error)), kind="variable")
        except ExpressionError as error:
            self.scene.fault(node.error(str(error)))
        except RecursionError:
            self.scene.fault(node.error("this is nested too deeply"))
        except InputError as error:
            self.scene.fault(error, node=node)

    def _line(self, node: Node) -> None:
        self.scene.scope.line = node.line
        if node.command == TEXT:
            self.scene.prose(node)
        elif node.command == BLANK:
            self.scene.constant(node, "\n\n")
        elif node.command == FAULT:
            raise node.error(node.data)
        elif node.is_option:
            raise node.error("an #option outside of a *choice")
        elif node.command in ("choice", "fake_choice"):
            ChoiceCompiler(self.scene, node, self.block, self._attempt).compile()
        elif node.command in CONTINUATIONS and not self.scene.context.strict:
            self._continued_alone(node)
        elif node.command in HANDLERS:
            HANDLERS[node.command](self.scene, node)
        else:
            raise node.error(_not_understood(node.command))

    def _continued_alone(self, node: Node) -> None:
        """``*else`` or ``*elseif`` without an ``*if``: with implicit control flow, play passes it."""
        joins: list[Jump] = []
        message = _not_understood(node.command)
        if self.scene.context.implicit is False:
            self.scene.fault(node.error(message))
        else:
            leave(self.scene, node, joins, (implicit_flow(self.scene), message), _lines_to_pass(node))
        self.block(node.block)
        join(self.scene, joins)

    def _conditional(self, chain: Sequence[Node]) -> None:
        joins: list[Jump] = []
        blank = _any_later(ends_with_blank(chain[:-1]))
        empty = _any_later(node.is_empty for node in chain)
        for position, node in enumerate(chain):
            branch = None
            if node.command != "else":
                self._attempt(node, lambda node=node: self._branch(node))
                last = self.scene.context.instructions[-1]
                branch = last if isinstance(last, Branch) else None
            elif node.data:
                self.scene.fault(
                    node.error(
                        f"expected nothing after *else, found {node.data!r} (*elseif takes a condition)"
                    )
                )
            self.block(node.block)
            if position + 1 < len(chain):
                following = chain[position + 1]
                if blank[position] > 0:
                    self.scene.constant(Node(node.path, node.line, 0, BLANK, ""), "\n\n")
                message = (
                    f"play falls into *{following.command}: the block above it must end with *goto or *finish"
                )
                falls = (implicit_flow(self.scene), message)
                passes = _lines_to_pass(chain[empty[position]] if empty[position] else following)
                leave(self.scene, following, joins, falls, passes)
            elif node.is_empty and node.command != "else":
                joins.append(Jump(node.path, node.line, UNRESOLVED, written=False))
                self.scene.emit(joins[-1])
            if branch is not None:
                branch.otherwise = self.scene.place()
            if node.is_empty and (node.command != "else" or self.scene.context.strict):
                # A condition that holds needs no lines; one that does not has none to pass.
                self.scene.fault(node.error(f"expected lines indented under *{node.command}"))
        join(self.scene, joins)

    def _branch(self, node: Node) -> None:
        self.scene.scope.line = node.line
        condition = parse(node.data)
        compiled, reads = self.scene.scope.condition(condition), self.scene.scope.reads(condition)
        here = self.scene.place()
        self.scene.emit(Branch(node.path, node.line, compiled, here + 1, UNRESOLVED, reads=reads))


def _continuation(nodes: Sequence[Node], position: int) -> int | None:
    """Position of the ``*elseif`` or ``*else`` that continues an ``*if``, past comments; None without one."""
    while position < len(nodes) and nodes[position].command in ("comment", BLANK):
        if nodes[position].data.startswith("pluralign"):
            return None
        position += 1
    found = position < len(nodes) and nodes[position].command in CONTINUATIONS
    return position if found else None


def _lines_to_pass(node: Node) -> tuple[bool, str]:
    """Whether a branch that play passes has lines, as each must, and the error message if not."""
    return not node.is_empty, f"expected lines indented under *{node.command}"


def _any_later(holds: Iterable[bool]) -> list[int]:
    """For each position the next later one at which something holds; 0 if there is none."""
    found, later = list[int](), 0
    values = list(holds)
    for position in reversed(range(len(values))):
        found.append(later)
        later = position if values[position] else later
    return [*reversed(found), 0]


def _not_understood(command: str) -> str:
    if command in HEAD_COMMANDS:
        return f"*{command} belongs at the top of startup.txt, before any other command"
    if command in ("else", "elseif", "elsif"):
        return f"*{command} without an *if right above it"
    if command in OPTION_PREFIXES:
        return f"expected *{command} (CONDITION) #OPTION, among a choice's options"
    return f"*{command} is not understood; docs/other_games.md lists the supported commands"
