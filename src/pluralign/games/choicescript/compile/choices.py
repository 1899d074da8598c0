"""Compilation of choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pluralign.core import InputError
from pluralign.games.choicescript.compile.commands.text import REUSE_MODES
from pluralign.games.choicescript.compile.context import UNRESOLVED
from pluralign.games.choicescript.compile.falling import (
    Allowed,
    Fall,
    Permission,
    falls,
    implicit_flow,
    join,
    leave,
    remember,
)
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.language.expressions import parse_template
from pluralign.games.choicescript.language.options import BranchLines, ChoiceLine, OptionLine, option_lines
from pluralign.games.choicescript.language.parser import BLANK, Node
from pluralign.games.choicescript.language.syntax import Expression, ExpressionError
from pluralign.games.choicescript.language.values import EvaluationError, text
from pluralign.games.choicescript.run.choose import Choose, GuardedOptions, Listed
from pluralign.games.choicescript.run.control import Jump
from pluralign.games.choicescript.run.instructions import Compiled, Option, SlotOrSet

_OUT = "play falls out of this option: its lines must end with *goto or *finish"
_INTO_ELSE = "play falls into *else: the lines of the option above it must end with *goto or *finish"


@dataclass
class _Found:
    """Options of a choice in the order of their lines, and the slots that their branches read."""

    options: list[tuple[OptionLine, Option]] = field(default_factory=list[tuple[OptionLine, Option]])
    reads: list[frozenset[SlotOrSet]] = field(default_factory=list[frozenset[SlotOrSet]])


class ChoiceCompiler:
    """Compiles a ``*choice`` or ``*fake_choice``.

    Args:
        scene: Builder of the scene.
        node: ``*choice`` line.
        block: Compiles the lines of an option.
        attempt: Runs an action, and reports what it raises at a line.
    """

    def __init__(
        self,
        scene: SceneBuilder,
        node: Node,
        block: Callable[[Sequence[Node]], None],
        attempt: Callable[[Node, Callable[[], None]], None],
    ) -> None:
        self.scene = scene
        self.node = node
        self.block = block
        self.attempt = attempt
        self.groups = node.data.split() if len(node.data.split()) > 1 else [""]
        self.joins: list[Jump] = []
        self.implicit = implicit_flow(scene)
        self.falls: Allowed = True if node.command == "fake_choice" else self.implicit
        self.ways = falls(node, len(self.groups))

    def compile(self) -> None:
        """Compile the choice.

        Raises:
            InputError: It has no options, or the names of its groups are malformed.
        """
        if re.search(r"[^\w\s]", self.node.data):
            raise self.node.error(
                f"expected nothing or the groups' names after *{self.node.command}, found {self.node.data!r}"
            )
        self.falls = remember(self.scene, self.node, self.falls)
        self._group(self.node, self.groups)
        join(self.scene, self.joins)

    def _group(self, node: Node, groups: Sequence[str]) -> None:
        """Compile one group's options, with the next group's under each of them."""
        lines = option_lines(node, strict=self.scene.context.strict)
        if groups[0]:
            self.scene.constant(node, f"\n\n{groups[0]}\n")
        found = _Found()
        listed = self._listed(lines, found)
        options = [option for _, option in found.options if not option.fault]
        choose = Choose(node.path, node.line, tuple(options), lines=listed)
        choose.reads = frozenset[SlotOrSet]().union(*found.reads)
        if all(isinstance(line, Option) for line in listed):
            choose.plain = tuple(option for _, option in found.options)
        if len(groups) == 1 and any(option.empty for option in options):
            self._need_last_lines(choose)
        elif choose.plain is not None and all(option.always_listed for option in choose.plain):
            choose.fixed = tuple(option.text for option in options)
        self.scene.emit(choose)
        for line, option in found.options:
            if not option.fault:
                option.target = self.scene.place()
                self._body(line, groups)

    def _need_last_lines(self, choose: Choose) -> None:
        if isinstance(self.falls, Permission):
            choose.falls = self.falls.holds
            choose.reads |= self.falls.reads
        elif not self.falls:
            choose.falls = lambda slots: False

    def _body(self, line: OptionLine, groups: Sequence[str]) -> None:
        node = line.node
        if len(groups) > 1:
            self.attempt(node, lambda: self._group(node, groups[1:]))
            return
        if node.is_empty and self.falls is False:
            self.scene.fault(node.error("this option has no lines under it"))
        self.block(line.body)
        fall = self.ways.get(node.line, Fall(never=True))
        if fall.blank:
            self.scene.constant(Node(node.path, node.line, 0, BLANK, ""), "\n\n")
        required: list[tuple[Allowed, str]] = []
        if fall.into_else:
            required.append((self.implicit, _INTO_ELSE))
        # The official engine lets play fall out of the last option; in annotated stories it is an oversight.
        if not fall.always or self.scene.context.strict:
            required.append((False if fall.never else self.falls, _OUT))
        leave(self.scene, node, self.joins, *required)

    def _listed(self, lines: Sequence[ChoiceLine], found: _Found) -> tuple[Listed, ...]:
        made: list[Listed] = []
        for line in lines:
            if not isinstance(line, OptionLine):
                made.append(tuple([self._branch(branch, found) for branch in line]))
            elif (option := self._option(line)) is not None:
                made.append(option)
                found.options.append((line, option))
                found.reads.append(option.reads)
        return tuple(made)

    def _branch(self, branch: BranchLines, found: _Found) -> GuardedOptions:
        scope, node, condition, lines = self.scene.scope, branch.node, branch.condition, branch.lines
        scope.line = node.line
        holds: list[Compiled] = []
        if condition is not None:
            try:
                holds.append(scope.condition(condition))
                found.reads.append(scope.reads(condition))
            except (ExpressionError, RecursionError) as error:
                # Play stops at a condition that cannot be read.
                lines = [OptionLine(node, fault=str(error)), *lines]
                if self.scene.context.strict:
                    self.attempt(node, lambda: holds.append(scope.condition(condition)))
                    lines = branch.lines
        options = self._listed(lines, found)
        return GuardedOptions(node.line, holds[0] if holds else None, options, branch.passing)

    def _option(self, line: OptionLine) -> Option | None:
        """An option without its body, or a faulty line; None, after reporting the error, if strict."""
        made: list[Option] = []
        self.scene.scope.line = line.node.line
        try:
            made.append(self._faulty(line) if line.fault else self._readable(line))
        except (ExpressionError, InputError, RecursionError):
            if not self.scene.context.strict:
                return self._unreadable(line)
            self.attempt(line.node, lambda: made.append(self._readable(line)))
        return made[0] if made else None

    def _unreadable(self, line: OptionLine) -> Option:
        """A faulty line of an option that cannot be compiled."""
        error: list[str] = []
        try:
            self._readable(line)
        except (ExpressionError, RecursionError) as found:
            error.append(str(found))
        guard = None if line.guard is None or not self._compiles(line.guard) else line.guard
        return self._faulty(OptionLine(line.node, guard=guard, fault=error[0] if error else ""))

    def _compiles(self, condition: Expression) -> bool:
        try:
            self.scene.scope.condition(condition)
        except ExpressionError:
            return False
        return True

    def _faulty(self, line: OptionLine) -> Option:
        self.scene.context.report("syntax", line.node.error(line.fault))
        return self._made(line, "", None, frozenset[SlotOrSet]())

    def _readable(self, line: OptionLine) -> Option:
        if line.printed is not None:
            reads = self.scene.scope.reads(line.printed)
            return self._made(line, "", _option_text(self.scene.scope.expression(line.printed)), reads)
        template = parse_template(line.text)
        constant = template.constant
        if constant is not None:
            return self._made(line, constant, None, frozenset[SlotOrSet]())
        return self._made(line, "", self.scene.scope.expression(template), self.scene.scope.reads(template))

    def _made(
        self, line: OptionLine, shown: str, render: Compiled | None, reads: frozenset[SlotOrSet]
    ) -> Option:
        scene = self.scene
        mode = REUSE_MODES[line.reuse] if line.reuse else None
        default = scene.default_reuse if mode is None and not line.fault else None
        used = scene.new_slot() if mode in ("hide", "disable") or default is not None else None
        conditions = [e for e in (line.guard, line.selectable) if e is not None]
        if conditions or used is not None:
            slots = frozenset(slot for slot in (used, default) if slot is not None)
            reads = reads | scene.scope.reads(*conditions) | slots
        return Option(
            line.node.path,
            line.node.line,
            text=shown,
            render=render,
            guard=self._condition(line.guard),
            selectable=self._condition(line.selectable),
            used=used,
            mode=mode,
            default=default,
            target=UNRESOLVED,
            reads=reads,
            fault=line.fault,
            empty=line.node.is_empty,
        )

    def _condition(self, condition: Expression | None) -> Callable[..., bool] | None:
        return None if condition is None else self.scene.scope.condition(condition)


def _option_text(printed: Compiled) -> Compiled:
    def render(slots: list[object]) -> str:
        found = text(printed(slots)).strip()
        if not found.startswith("#") or not found[1:].strip():
            raise EvaluationError(f"*print among options needs a text that begins with #, found {found!r}")
        return found[1:].strip()

    return render
