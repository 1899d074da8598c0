"""The tree of lines to instructions: blocks, conditions and choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pluralign.core import InputError
from pluralign.games.choicescript import expressions
from pluralign.games.choicescript.codegen import compile_condition, compile_expression
from pluralign.games.choicescript.commands import HANDLERS, REUSE_MODES
from pluralign.games.choicescript.control import Branch, Choose, Fault, Jump
from pluralign.games.choicescript.expressions import Expression, ExpressionError
from pluralign.games.choicescript.head import HEAD_COMMANDS
from pluralign.games.choicescript.instructions import Option
from pluralign.games.choicescript.options import OptionLine, option_lines
from pluralign.games.choicescript.parser import BLANK, TEXT, Node
from pluralign.games.choicescript.scene_writer import STILL_OPEN, SceneWriter, UnknownVariable, Workshop


def compile_scene(workshop: Workshop, name: str, nodes: Sequence[Node], last: Node) -> None:
    """Compile a scene into the workshop, which collects its problems.

    Args:
        nodes: its lines, the head of ``startup.txt`` left out.
        last: stands for the end of the file, which is a ``*finish``.
    """
    scene = SceneWriter(workshop, name)
    for node in _all(nodes):
        if node.command == "temp":
            variable = node.data.split(" ")[0].lower()
            if variable not in scene.temporaries:
                scene.temporaries[variable] = scene.new_slot()
        elif node.command in REUSE_MODES and not node.is_option and scene.default_reuse is None:
            scene.default_reuse = scene.new_slot()
    workshop.entries[name] = scene.place()
    _SceneCompiler(scene).block(nodes)
    scene.finish(last, written=False)


class _SceneCompiler:
    def __init__(self, scene: SceneWriter) -> None:
        self.scene = scene
        self.implicit = scene.workshop.head.implicit_control_flow

    def block(self, nodes: Sequence[Node]) -> None:
        """Compile lines of one indentation."""
        position = 0
        while position < len(nodes):
            node = nodes[position]
            position += 1
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
            self.scene.workshop.report("variable", node.error(str(error)))
        except ExpressionError as error:
            self.scene.workshop.report("syntax", node.error(str(error)))
        except InputError as error:
            self.scene.workshop.report("syntax", error)

    def _line(self, node: Node) -> None:
        if node.command == TEXT:
            self.scene.prose(node)
        elif node.command == BLANK:
            self.scene.constant(node, "\n\n")
        elif node.is_option:
            raise node.error("an #option outside of a *choice")
        elif node.command in ("choice", "fake_choice"):
            self._choice(node)
        elif node.command in HANDLERS:
            HANDLERS[node.command](self.scene, node)
        else:
            raise node.error(_not_understood(node.command))

    def _conditional(self, chain: Sequence[Node]) -> None:
        joints: list[Jump] = []
        for position, node in enumerate(chain):
            if not node.block:
                raise node.error(f"expected lines indented under *{node.command}")
            branch = self._branch(node)
            self.block(node.block)
            if position + 1 < len(chain):
                following = chain[position + 1]
                message = (
                    f"play falls into *{following.command}: the block above it must end with *goto or *finish"
                )
                self._leave_block(following, message, joins=self.implicit, joints=joints)
            if branch is not None:
                branch.otherwise = self.scene.place()
        self._join(joints)

    def _branch(self, node: Node) -> Branch | None:
        if node.command == "else":
            if node.data:
                raise node.error(
                    f"expected nothing after *else, found {node.data!r} (*elseif takes a condition)"
                )
            return None
        try:
            condition = expressions.parse(node.data)
            compiled = compile_condition(condition, self.scene.resolve)
        except ExpressionError as error:
            kind = "variable" if isinstance(error, UnknownVariable) else "syntax"
            self.scene.workshop.report(kind, node.error(str(error)))
            return None
        here, reads = self.scene.place(), self.scene.reads(condition)
        branch = Branch(node.path, node.line, compiled, here + 1, STILL_OPEN, reads=reads)
        self.scene.emit(branch)
        return branch

    def _leave_block(self, node: Node, message: str, *, joins: bool, joints: list[Jump]) -> None:
        if joins:
            joints.append(Jump(node.path, node.line, STILL_OPEN, written=False))
            self.scene.emit(joints[-1])
        else:
            self.scene.emit(Fault(node.path, node.line, message, written=False))

    def _join(self, joints: Sequence[Jump]) -> None:
        here = self.scene.place()
        for joint in joints:
            joint.target = here

    def _choice(self, node: Node) -> None:
        if re.search(r"\W", node.data):
            raise node.error("a choice among several groups is not understood")
        falls = node.command == "fake_choice" or self.implicit
        lines = list(option_lines(node))
        choose = Choose(node.path, node.line, ())
        self.scene.emit(choose)
        joints: list[Jump] = []
        options: list[Option] = []
        for line in lines:
            body = self.scene.place()
            self._attempt(line.node, lambda line=line, body=body: options.append(self._option(line, body)))
            if not line.body and not falls:
                self.scene.workshop.report("syntax", line.node.error("this option has no lines under it"))
            self.block(line.body)
            message = "play falls out of this option: its lines must end with *goto or *finish"
            self._leave_block(line.node, message, joins=falls, joints=joints)
        choose.options = tuple(options)
        choose.reads = frozenset[int]().union(*(option.reads for option in options))
        if all(option.always_listed for option in options):
            choose.fixed = tuple(option.text for option in options)
        self._join(joints)

    def _option(self, line: OptionLine, body: int) -> Option:
        scene = self.scene
        template = scene.template(line.text)
        mode = REUSE_MODES[line.reuse] if line.reuse else None
        default = scene.default_reuse if mode is None else None
        used = scene.new_slot() if mode in ("hide", "disable") or default is not None else None
        read = [e for e in (template, line.guard, line.selectable) if e is not None]
        constant = template.constant
        return Option(
            line.node.path,
            line.node.line,
            text=constant or "",
            render=compile_expression(template, scene.resolve) if constant is None else None,
            guard=self._condition(line.guard),
            selectable=self._condition(line.selectable),
            used=used,
            mode=mode,
            default=default,
            target=body,
            reads=scene.reads(*read) | {slot for slot in (used, default) if slot is not None},
        )

    def _condition(self, condition: Expression | None) -> Callable[..., bool] | None:
        return None if condition is None else compile_condition(condition, self.scene.resolve)


def _all(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _all(node.block)


def _not_understood(command: str) -> str:
    if command in HEAD_COMMANDS:
        return f"*{command} belongs to the top of startup.txt, before any other command"
    if command in ("else", "elseif", "elsif"):
        return f"*{command} without an *if right above it"
    if command == "selectable_if":
        return "expected *selectable_if (CONDITION) #OPTION, among a choice's options"
    return f"*{command} is not understood; docs/stories.md lists what is"
