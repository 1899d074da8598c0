"""The tree of lines to a program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript import expressions
from pluralign.games.choicescript.expressions import Expression, ExpressionError
from pluralign.games.choicescript.head import HEAD_COMMANDS, Head, check_name, pluralign_note
from pluralign.games.choicescript.options import OptionLine, option_lines
from pluralign.games.choicescript.parser import BLANK, TEXT, Node
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.program import (
    Achieve,
    Annotate,
    Assign,
    Branch,
    Choose,
    Create,
    End,
    Fault,
    Gosub,
    GosubScene,
    Instruction,
    Jump,
    LeaveScene,
    Option,
    Return,
    SetReuse,
    Show,
)

REUSE_MODES: Mapping[str, str] = {"hide_reuse": "hide", "disable_reuse": "disable", "allow_reuse": "allow"}
"""From a command to the mode that it sets."""

_MARKUP = re.compile(r"\[/?[bi]\]")
# The official engine joins these to the next line without a space.
_HYPHENS = "-\u2011\u2012\u2013\u2014"


class UnknownVariable(ExpressionError):
    """An expression reads a variable that nothing declares."""


@dataclass
class Workshop:
    """What all scenes' compilers share.

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
    links: list[Link] = field(default_factory=list["Link"])
    problems: list[Problem] = field(default_factory=list[Problem])

    def report(self, kind: str, error: InputError) -> None:
        """Note a problem and go on, so that a check finds more than the first."""
        self.problems.append(Problem.of(error, kind))


@dataclass(frozen=True)
class Link:
    """An instruction that still has to learn where a label or a scene is."""

    node: Node
    instruction: Jump | Gosub | LeaveScene | GosubScene
    scene: str
    label: str | None


class SceneCompiler:
    """Compiles one scene into the workshop's program."""

    def __init__(self, workshop: Workshop, name: str, nodes: Sequence[Node]) -> None:
        self.workshop = workshop
        self.name = name
        self.temporaries: dict[str, int] = {}
        self.first = workshop.slots
        self.blank: list[None] = []
        self.default_reuse: int | None = None
        self._text: list[str] = []
        self._text_node: Node | None = None
        for node in _all(nodes):
            self._declare(node)

    def _declare(self, node: Node) -> None:
        if node.command == "temp":
            name = node.data.split(" ")[0].lower()
            self.temporaries.setdefault(name, self._new_slot())
        elif node.command in REUSE_MODES and not node.is_option and self.default_reuse is None:
            self.default_reuse = self._new_slot()

    def _new_slot(self) -> int:
        self.blank.append(None)
        self.workshop.slots += 1
        return self.workshop.slots - 1

    def compile(self, nodes: Sequence[Node], last: Node) -> None:
        """Compile the whole scene; ``last`` stands for its end, which is a ``*finish``."""
        self.workshop.entries[self.name] = len(self.workshop.instructions)
        self.block(nodes)
        self._finish(last, written=False)
        self._flush()

    def block(self, nodes: Sequence[Node]) -> None:
        """Compile lines of one indentation."""
        position = 0
        while position < len(nodes):
            node = nodes[position]
            position += 1
            if node.command == "if" and not node.is_option:
                chain = [node]
                while position < len(nodes) and nodes[position].command in ("elseif", "elsif", "else"):
                    chain.append(nodes[position])
                    position += 1
                    if chain[-1].command == "else":
                        break
                self._attempt(node, lambda chain=chain: self._conditional(chain))
            else:
                self._attempt(node, lambda node=node: self._line(node))

    def _attempt(self, node: Node, action: Callable[[], None]) -> None:
        try:
            action()
        except UnknownVariable as error:
            self.workshop.report("variable", node.error(str(error)))
        except ExpressionError as error:
            self.workshop.report("syntax", node.error(str(error)))
        except InputError as error:
            self.workshop.report("syntax", error)

    def _line(self, node: Node) -> None:
        if node.command == TEXT:
            self._prose(node)
            return
        if node.command == BLANK:
            self._constant(node, "\n\n")
            return
        if node.is_option:
            raise node.error("an #option outside of a *choice")
        handler = HANDLERS.get(node.command)
        if handler is None:
            raise node.error(_not_understood(node.command))
        handler(self, node)

    # Text ------------------------------------------------------------------------------------------

    def _prose(self, node: Node) -> None:
        line = _MARKUP.sub("", node.data)
        template = expressions.parse_template(line)
        ending = "" if line.endswith(tuple(_HYPHENS)) else " "
        if template.constant is not None:
            self._constant(node, line + ending)
            return
        render = expressions.compile_expression(expressions.Template((*template.parts, ending)), self.resolve)
        here = self._emit_place()
        self._emit(Show(node.path, node.line, "", render, here + 1, reads=self.reads(template)))

    def _constant(self, node: Node, text: str) -> None:
        if self._text_node is None or (self._text_node.command == BLANK and node.command == TEXT):
            self._text_node = node
        self._text.append(text)

    def _flush(self) -> None:
        if self._text_node is None:
            return
        node, text = self._text_node, "".join(self._text)
        self._text, self._text_node = [], None
        here = len(self.workshop.instructions)
        self.workshop.instructions.append(
            Show(node.path, node.line, text, None, here + 1, written=bool(text.strip()))
        )

    # Instructions ----------------------------------------------------------------------------------

    def _emit_place(self) -> int:
        """Where the next instruction will stand."""
        self._flush()
        return len(self.workshop.instructions)

    def _emit(self, instruction: Instruction) -> None:
        self._flush()
        self.workshop.instructions.append(instruction)

    def resolve(self, name: str) -> str:
        """Python source that reads a variable; a temporary hides a global once its ``*temp`` has run."""
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
        slots: set[int] = set()
        for expression in read:
            for name in expressions.variables(expression):
                for table in (self.temporaries, self.workshop.globals):
                    if name in table:
                        slots.add(table[name])
        return frozenset(slots)

    def set(self, node: Node) -> None:
        """``*set VARIABLE EXPRESSION``."""
        name, value = expressions.parse_assignment(node.data)
        self.resolve(name)
        if name == "implicit_control_flow":
            raise node.error("implicit_control_flow is set once, by *create")
        evaluate = expressions.compile_assignment(value, self.resolve)
        here, reads = self._emit_place(), self.reads(value)
        temporary, fallback = self.temporaries.get(name), self.workshop.globals.get(name)
        if temporary is None:
            assert fallback is not None
            self._emit(Create(node.path, node.line, fallback, evaluate, here + 1, reads=reads))
            return
        self._emit(
            Assign(node.path, node.line, temporary, evaluate, here + 1, fallback, reads=reads | {temporary})
        )

    def temp(self, node: Node) -> None:
        """``*temp VARIABLE [EXPRESSION]``."""
        name, _, source = node.data.partition(" ")
        name = check_name(node, name)
        value = expressions.parse(source) if source.strip() else None
        evaluate = None if value is None else expressions.compile_assignment(value, self.resolve)
        reads = frozenset[int]() if value is None else self.reads(value)
        here = self._emit_place()
        self._emit(Create(node.path, node.line, self.temporaries[name], evaluate, here + 1, reads=reads))

    def comment(self, node: Node) -> None:
        """``*comment``, and ``*comment pluralign {...}`` as an annotation."""
        try:
            note = pluralign_note(node)
            if note is None:
                return
            annotation = harms.check_annotation(note)
        except InputError as error:
            self.workshop.report("annotation", node.error(error.message, name=error.field))
            return
        here = self._emit_place()
        self._emit(Annotate(node.path, node.line, len(self.workshop.annotations), here + 1))
        self.workshop.annotations.append(annotation)

    def achieve(self, node: Node) -> None:
        """``*achieve NAME``."""
        name = node.data.lower()
        slot = self.workshop.achievements.get(name)
        if slot is None:
            self.workshop.report("achievement", node.error(f"no *achievement declares '{node.data}'"))
            return
        points = self.workshop.head.achievements[name].points
        here = self._emit_place()
        self._emit(Achieve(node.path, node.line, name, slot, points, here + 1, reads=frozenset({slot})))

    def line_break(self, node: Node) -> None:
        """``*line_break``."""
        self._nothing_after(node)
        self._constant(node, "\n")

    def page_break(self, node: Node) -> None:
        """``*page_break [BUTTON]``: nobody needs to turn pages here, so the text goes on."""
        self._constant(node, "\n\n")

    def reuse(self, node: Node) -> None:
        """``*hide_reuse`` and its like on a line of their own."""
        if node.data:
            raise node.error(f"expected nothing or an #option after *{node.command}, found {node.data!r}")
        assert self.default_reuse is not None
        mode = None if node.command == "allow_reuse" else REUSE_MODES[node.command]
        here = self._emit_place()
        self._emit(SetReuse(node.path, node.line, self.default_reuse, mode, here + 1))

    # Going elsewhere -------------------------------------------------------------------------------

    def label(self, node: Node) -> None:
        """``*label NAME``."""
        name = node.data.lower()
        if not name or re.search(r"\s", name):
            raise node.error(f"a label is one word, found {node.data!r}")
        if (self.name, name) in self.workshop.labels:
            self.workshop.report("label", node.error(f"label '{name}' stands twice in this scene"))
            return
        self.workshop.labels[self.name, name] = self._emit_place()

    def goto(self, node: Node) -> None:
        """``*goto LABEL``."""
        jump = Jump(node.path, node.line, STILL_OPEN)
        self._link(node, jump, self.name, self._word(node))
        self._emit(jump)

    def gosub(self, node: Node) -> None:
        """``*gosub LABEL``."""
        here = self._emit_place()
        gosub = Gosub(node.path, node.line, STILL_OPEN, here + 1)
        self._link(node, gosub, self.name, self._word(node))
        self._emit(gosub)

    def goto_scene(self, node: Node) -> None:
        """``*goto_scene SCENE [LABEL]``."""
        scene, label = self._scene_and_label(node)
        leave = LeaveScene(node.path, node.line, self.first, self.blank, STILL_OPEN)
        self._link(node, leave, scene, label)
        self._emit(leave)

    def gosub_scene(self, node: Node) -> None:
        """``*gosub_scene SCENE [LABEL]``."""
        scene, label = self._scene_and_label(node)
        here = self._emit_place()
        gosub = GosubScene(node.path, node.line, self.first, self.blank, STILL_OPEN, here + 1)
        self._link(node, gosub, scene, label)
        self._emit(gosub)

    def leave_subroutine(self, node: Node) -> None:
        """``*return``."""
        self._nothing_after(node)
        self._emit(Return(node.path, node.line, self.first, self.blank))

    def finish(self, node: Node) -> None:
        """``*finish [BUTTON]``: on to the next scene of the list, or the end after the last."""
        self._finish(node, written=True)

    def ending(self, node: Node) -> None:
        """``*ending``."""
        self._nothing_after(node)
        self._emit(End(node.path, node.line))

    def _finish(self, node: Node, *, written: bool) -> None:
        scenes = self.workshop.head.scenes
        following = scenes.index(self.name) + 1 if self.name in scenes else len(scenes)
        leave = LeaveScene(node.path, node.line, self.first, self.blank, None, written=written)
        if following < len(scenes):
            self._link(node, leave, scenes[following], None)
        self._constant(node, "\n\n")
        self._emit(leave)

    def _link(
        self, node: Node, instruction: Jump | Gosub | LeaveScene | GosubScene, scene: str, label: str | None
    ) -> None:
        self.workshop.links.append(Link(node, instruction, scene, label))

    def _word(self, node: Node) -> str:
        if re.search(r"[\[{]", node.data):
            raise node.error(f"*{node.command} by reference is not understood; name the label")
        if len(node.data.split()) != 1:
            raise node.error(f"expected one label after *{node.command}, found {node.data!r}")
        return node.data.lower()

    def _scene_and_label(self, node: Node) -> tuple[str, str | None]:
        words = node.data.split()
        if re.search(r"[\[{]", node.data) or not 1 <= len(words) <= 2:
            raise node.error(f"expected SCENE or SCENE LABEL after *{node.command}, found {node.data!r}")
        return words[0].lower(), words[1].lower() if len(words) == 2 else None

    def _nothing_after(self, node: Node) -> None:
        if node.data:
            raise node.error(f"expected nothing after *{node.command}, found {node.data!r}")

    # Blocks ----------------------------------------------------------------------------------------

    def _conditional(self, chain: Sequence[Node]) -> None:
        joints: list[Jump] = []
        for position, node in enumerate(chain):
            if not node.block:
                raise node.error(f"expected lines indented under *{node.command}")
            branch: Branch | None = None
            if node.command == "else":
                self._nothing_after(node)
            else:
                condition = expressions.parse(node.data)
                compiled = expressions.compile_condition(condition, self.resolve)
                here = self._emit_place()
                branch = Branch(
                    node.path, node.line, compiled, here + 1, STILL_OPEN, reads=self.reads(condition)
                )
                self._emit(branch)
            self.block(node.block)
            if position + 1 < len(chain):
                self._leave_branch(chain[position + 1], joints)
            if branch is not None:
                branch.otherwise = self._emit_place()
        self._join(joints)

    def _leave_branch(self, following: Node, joints: list[Jump]) -> None:
        if self.workshop.head.implicit_control_flow:
            joints.append(Jump(following.path, following.line, STILL_OPEN, written=False))
            self._emit(joints[-1])
            return
        message = f"play falls into *{following.command}: the block above it must end with *goto or *finish"
        self._emit(Fault(following.path, following.line, message, written=False))

    def _join(self, joints: Sequence[Jump]) -> None:
        here = self._emit_place()
        for joint in joints:
            joint.target = here

    def choice(self, node: Node) -> None:
        """``*choice`` and ``*fake_choice``."""
        if re.search(r"\W", node.data):
            raise node.error("a choice among several groups is not understood")
        falls_through = node.command == "fake_choice" or self.workshop.head.implicit_control_flow
        lines = list(option_lines(node))
        choose = Choose(node.path, node.line, ())
        self._emit(choose)
        joints: list[Jump] = []
        options: list[Option] = []
        for line in lines:
            body = self._emit_place()
            self._attempt(line.node, lambda line=line, body=body: options.append(self._option(line, body)))
            if not line.body and not falls_through:
                raise line.node.error("this option has no lines under it")
            self.block(line.body)
            if falls_through:
                joints.append(Jump(line.node.path, line.node.line, STILL_OPEN, written=False))
                self._emit(joints[-1])
            else:
                message = "play falls out of this option: its lines must end with *goto or *finish"
                self._emit(Fault(line.node.path, line.node.line, message, written=False))
        choose.options = tuple(options)
        choose.reads = frozenset[int]().union(*(option.reads for option in options))
        if options and all(option.always_listed for option in options):
            choose.fixed = tuple(option.text for option in options)
        self._join(joints)

    def _option(self, line: OptionLine, body: int) -> Option:
        template = expressions.parse_template(_MARKUP.sub("", line.text))
        mode = REUSE_MODES[line.reuse] if line.reuse else None
        default = self.default_reuse if mode is None else None
        used = self._new_slot() if mode in ("hide", "disable") or default is not None else None
        read = [e for e in (template, line.guard, line.selectable) if e is not None]
        reads = self.reads(*read) | {slot for slot in (used, default) if slot is not None}
        constant = template.constant
        return Option(
            line.node.path,
            line.node.line,
            text=constant or "",
            render=expressions.compile_expression(template, self.resolve) if constant is None else None,
            guard=expressions.compile_condition(line.guard, self.resolve) if line.guard else None,
            selectable=expressions.compile_condition(line.selectable, self.resolve)
            if line.selectable
            else None,
            used=used,
            mode=mode,
            default=default,
            target=body,
            reads=reads,
        )


STILL_OPEN = -1
"""A target that is not known yet."""


def _all(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _all(node.block)


def _not_understood(command: str) -> str:
    if command in HEAD_COMMANDS:
        return f"*{command} belongs to the top of startup.txt, before any other command"
    if command in ("else", "elseif", "elsif"):
        return f"*{command} without an *if right above it"
    return f"*{command} is not understood; docs/stories.md lists what is"


HANDLERS: Mapping[str, Callable[[SceneCompiler, Node], None]] = {
    "achieve": SceneCompiler.achieve,
    "allow_reuse": SceneCompiler.reuse,
    "choice": SceneCompiler.choice,
    "comment": SceneCompiler.comment,
    "disable_reuse": SceneCompiler.reuse,
    "ending": SceneCompiler.ending,
    "fake_choice": SceneCompiler.choice,
    "finish": SceneCompiler.finish,
    "gosub": SceneCompiler.gosub,
    "gosub_scene": SceneCompiler.gosub_scene,
    "goto": SceneCompiler.goto,
    "goto_scene": SceneCompiler.goto_scene,
    "hide_reuse": SceneCompiler.reuse,
    "label": SceneCompiler.label,
    "line_break": SceneCompiler.line_break,
    "page_break": SceneCompiler.page_break,
    "return": SceneCompiler.leave_subroutine,
    "set": SceneCompiler.set,
    "temp": SceneCompiler.temp,
}
"""From a command to what compiles it: where further commands join the language."""
