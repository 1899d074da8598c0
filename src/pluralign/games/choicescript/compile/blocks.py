"""Compilation of a scene's lines: blocks, conditions and choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pluralign.core import InputError
from pluralign.games.choicescript.compile.commands.handlers import HANDLERS
from pluralign.games.choicescript.compile.commands.text import REUSE_MODES
from pluralign.games.choicescript.compile.context import UNRESOLVED, CompileContext, all_nodes
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.compile.scope import UnknownVariable
from pluralign.games.choicescript.language.expressions import parse, parse_template
from pluralign.games.choicescript.language.head import HEAD_COMMANDS, array_values
from pluralign.games.choicescript.language.options import OptionLine, option_lines
from pluralign.games.choicescript.language.parser import BLANK, FAULT, OPTION_PREFIXES, TEXT, Node
from pluralign.games.choicescript.language.syntax import Expression, ExpressionError
from pluralign.games.choicescript.run.control import Branch, Choose, Fault, Jump
from pluralign.games.choicescript.run.instructions import Option


def compile_scene(context: CompileContext, name: str, nodes: Sequence[Node], last: Node) -> None:
    """Compile a scene into the context, which collects its errors.

    Args:
        context: Context of the story.
        name: Name of the scene.
        nodes: Lines of the scene, without the head of ``startup.txt``.
        last: ``*finish`` at the end of the file.
    """
    scene = SceneBuilder(context, name)
    for node in all_nodes(nodes):
        for variable in _temporaries(node, context.most_arguments):
            if variable not in scene.scope.own:
                scene.scope.own[variable] = scene.new_slot()
        if node.command in REUSE_MODES and not node.is_option and scene.default_reuse is None:
            scene.default_reuse = scene.new_slot()
    context.entries[name] = scene.place()
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
    elif node.command == "temp_array":
        try:
            yield from (name for name, _ in array_values(node))
        except (InputError, ExpressionError):
            # Compiling the line reports the error.
            return


class _SceneCompiler:
    def __init__(self, scene: SceneBuilder) -> None:
        self.scene = scene
        self.implicit = scene.context.head.implicit_control_flow

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
            while position < len(nodes) and nodes[position].command in ("elseif", "elsif", "else"):
                chain.append(nodes[position])
                position += 1
                if chain[-1].command == "else":
                    break
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
        if node.command == TEXT:
            self.scene.prose(node)
        elif node.command == BLANK:
            self.scene.constant(node, "\n\n")
        elif node.command == FAULT:
            raise node.error(node.data)
        elif node.is_option:
            raise node.error("an #option outside of a *choice")
        elif node.command in ("choice", "fake_choice"):
            self._choice(node)
        elif node.command in HANDLERS:
            HANDLERS[node.command](self.scene, node)
        else:
            raise node.error(_not_understood(node.command))

    def _conditional(self, chain: Sequence[Node]) -> None:
        for node in chain:
            if not node.block:
                raise node.error(f"expected lines indented under *{node.command}")
            if node.command == "else" and node.data:
                raise node.error(
                    f"expected nothing after *else, found {node.data!r} (*elseif takes a condition)"
                )
        joins: list[Jump] = []
        for position, node in enumerate(chain):
            branch = None
            if node.command != "else":
                self._attempt(node, lambda node=node: self._branch(node))
                last = self.scene.context.instructions[-1]
                branch = last if isinstance(last, Branch) else None
            self.block(node.block)
            if position + 1 < len(chain):
                following = chain[position + 1]
                message = (
                    f"play falls into *{following.command}: the block above it must end with *goto or *finish"
                )
                self._leave_block(following, message, falls=self.implicit, joins=joins)
            if branch is not None:
                branch.otherwise = self.scene.place()
        self._join(joins)

    def _branch(self, node: Node) -> None:
        condition = parse(node.data)
        compiled, reads = self.scene.scope.condition(condition), self.scene.scope.reads(condition)
        here = self.scene.place()
        self.scene.emit(Branch(node.path, node.line, compiled, here + 1, UNRESOLVED, reads=reads))

    def _leave_block(self, node: Node, message: str, *, falls: bool, joins: list[Jump]) -> None:
        if falls:
            joins.append(Jump(node.path, node.line, UNRESOLVED, written=False))
            self.scene.emit(joins[-1])
        else:
            self.scene.emit(Fault(node.path, node.line, message, written=False))

    def _join(self, joins: Sequence[Jump]) -> None:
        here = self.scene.place()
        for join in joins:
            join.target = here

    def _choice(self, node: Node) -> None:
        groups = node.data.split()
        if re.search(r"[^\w\s]", node.data):
            raise node.error(
                f"expected nothing or the groups' names after *{node.command}, found {node.data!r}"
            )
        joins: list[Jump] = []
        falls = node.command == "fake_choice" or self.implicit
        self._group(node, groups if len(groups) > 1 else [""], falls=falls, joins=joins)
        self._join(joins)

    def _group(self, node: Node, groups: Sequence[str], *, falls: bool, joins: list[Jump]) -> None:
        """Compile one group's options, with the next group's under each of them."""
        lines = list(option_lines(node, strict=self.scene.context.strict))
        if groups[0]:
            self.scene.constant(node, f"\n\n{groups[0]}\n")
        options = [option for line in lines if (option := self._option(line)) is not None]
        choose = Choose(node.path, node.line, tuple(options))
        choose.reads = frozenset[int]().union(*(option.reads for option in options))
        if all(option.always_listed for option in options):
            choose.fixed = tuple(option.text for option in options)
        self.scene.emit(choose)
        targets = {option.line: option for option in options}
        for line in lines:
            if line.node.line in targets:
                targets[line.node.line].target = self.scene.place()
            if len(groups) > 1:
                self._attempt(
                    line.node,
                    lambda line=line: self._group(line.node, groups[1:], falls=falls, joins=joins),
                )
                continue
            if not line.body and not falls:
                self.scene.fault(line.node.error("this option has no lines under it"))
            self.block(line.body)
            message = "play falls out of this option: its lines must end with *goto or *finish"
            self._leave_block(line.node, message, falls=falls, joins=joins)

    def _option(self, line: OptionLine) -> Option | None:
        """An option without its body; None, after reporting the error, if it is malformed."""
        made: list[Option] = []
        self._attempt(line.node, lambda: made.append(self._readable_option(line)))
        return made[0] if made else None

    def _readable_option(self, line: OptionLine) -> Option:
        scene, scope = self.scene, self.scene.scope
        template = parse_template(line.text)
        mode = REUSE_MODES[line.reuse] if line.reuse else None
        default = scene.default_reuse if mode is None else None
        used = scene.new_slot() if mode in ("hide", "disable") or default is not None else None
        read = [e for e in (template, line.guard, line.selectable) if e is not None]
        constant = template.constant
        return Option(
            line.node.path,
            line.node.line,
            text=constant or "",
            render=scope.expression(template) if constant is None else None,
            guard=self._condition(line.guard),
            selectable=self._condition(line.selectable),
            used=used,
            mode=mode,
            default=default,
            target=UNRESOLVED,
            reads=scope.reads(*read) | {slot for slot in (used, default) if slot is not None},
        )

    def _condition(self, condition: Expression | None) -> Callable[..., bool] | None:
        return None if condition is None else self.scene.scope.condition(condition)


def _not_understood(command: str) -> str:
    if command in HEAD_COMMANDS:
        return f"*{command} belongs at the top of startup.txt, before any other command"
    if command in ("else", "elseif", "elsif"):
        return f"*{command} without an *if right above it"
    if command in OPTION_PREFIXES:
        return f"expected *{command} (CONDITION) #OPTION, among a choice's options"
    return f"*{command} is not understood; docs/other_games.md lists the supported commands"
