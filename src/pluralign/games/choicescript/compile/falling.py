"""Where play falls out of a branch or an option: it continues after the block, or stops with an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pluralign.games.choicescript.compile.context import UNRESOLVED
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.compile.scope import IMPLICIT
from pluralign.games.choicescript.language.parser import BLANK, CONTINUATIONS, Node
from pluralign.games.choicescript.language.syntax import Variable
from pluralign.games.choicescript.language.values import stored, truthy
from pluralign.games.choicescript.run.assignments import Create
from pluralign.games.choicescript.run.control import Branch, Fault, Jump
from pluralign.games.choicescript.run.instructions import Compiled, SlotOrSet


@dataclass(frozen=True)
class Permission:
    """Whether play may fall, as a function of the slots.

    Args:
        holds: Function from the slots to whether it may.
        reads: Slots that the function reads.
    """

    holds: Compiled
    reads: frozenset[SlotOrSet]


Allowed = bool | Permission
"""Whether play may fall: known, or decided in play."""


@dataclass
class Fall:
    """Conditions under which play may fall out of an option, and their error messages.

    Args:
        into_else: Whether ``*else`` or ``*elseif`` follows the option's lines.
        blank: Whether a blank line ends what play passes there.
        always: Whether nothing but the end of the choice follows.
        never: Whether play may not fall there in any mode.
    """

    into_else: bool = False
    blank: bool = False
    always: bool = False
    never: bool = False


def implicit_flow(scene: SceneBuilder) -> Allowed:
    """Whether ``implicit_control_flow`` is set here."""
    if scene.context.implicit is not None:
        return scene.context.implicit
    variable = Variable(IMPLICIT)
    read = scene.scope.expression(variable)
    return Permission(lambda slots: truthy(read(slots)), scene.scope.reads(variable))


def remember(scene: SceneBuilder, node: Node, allowed: Allowed) -> Allowed:
    """A permission as it is now, for a choice: later changes do not affect the options on the page."""
    if isinstance(allowed, bool):
        return allowed
    holds, slot = allowed.holds, scene.new_slot()
    now = Create(node.path, node.line, slot, lambda slots: stored(holds(slots)), scene.place() + 1)
    now.reads, now.written = allowed.reads, False
    scene.emit(now)
    return Permission(lambda slots: slots[slot] == "true", frozenset({slot}))


def leave(scene: SceneBuilder, node: Node, joins: list[Jump], *required: tuple[Allowed, str]) -> None:
    """End a block where play falls out of it.

    Args:
        scene: Builder of the scene.
        node: Line that an error names.
        joins: Jumps to the end of all blocks, which this one joins.
        required: Permissions that play needs, each with the error message if it has none.
    """
    decided: list[tuple[Branch, str]] = []
    for allowed, message in required:
        if isinstance(allowed, Permission):
            here = scene.place()
            branch = Branch(node.path, node.line, allowed.holds, here + 1, UNRESOLVED, written=False)
            branch.reads = allowed.reads
            scene.emit(branch)
            decided.append((branch, message))
        elif not allowed:
            scene.emit(Fault(node.path, node.line, message, written=False))
            break
    else:
        joins.append(Jump(node.path, node.line, UNRESOLVED, written=False))
        scene.emit(joins[-1])
    for branch, message in decided:
        branch.otherwise = scene.place()
        # What play decides is no error of the source.
        scene.emit(Fault(node.path, node.line, message, known=True, written=False))


def join(scene: SceneBuilder, joins: Sequence[Jump]) -> None:
    """Let jumps continue here."""
    here = scene.place()
    for jump in joins:
        jump.target = here


@dataclass
class _Line:
    """A line in the list of a choice, in the order of the source."""

    kind: str
    node: Node
    leaf: bool = False
    end: int = field(default=0)


def falls(choice: Node, groups: int) -> dict[int, Fall]:
    """How play falls out of each option of the last group, by the option's line.

    Args:
        choice: ``*choice`` line.
        groups: Number of groups of options.
    """
    lines: list[_Line] = []
    _list(choice.block, groups, 1, lines)
    found = [Fall(always=True)] * (len(lines) + 1)
    for position in reversed(range(len(lines))):
        found[position] = _fall(lines[position], found)
    return {line.node.line: found[position + 1] for position, line in enumerate(lines) if line.leaf}


def _list(nodes: Sequence[Node], groups: int, depth: int, lines: list[_Line]) -> None:
    for node in nodes:
        if node.command in (BLANK, "comment"):
            continue
        if node.is_option or node.command == "print":
            # Only an option of the first group, and one that begins with *if, ends the option above it.
            kind = "option" if depth == 1 or node.command == "if" else "inner"
            lines.append(_Line(kind, node, leaf=depth == groups))
            if depth < groups:
                _list(node.block, groups, depth + 1, lines)
            continue
        kind = "else" if node.command in CONTINUATIONS else "option" if node.command == "if" else "other"
        line = _Line(kind, node)
        lines.append(line)
        if kind != "other":
            _list(node.block, groups, depth, lines)
        line.end = len(lines)


def _fall(line: _Line, after: Sequence[Fall]) -> Fall:
    """How play falls out of an option above a line."""
    if line.kind != "else":
        return Fall(never=line.kind != "option")
    last = line.node
    while last.block:
        last = last.block[-1]
    following = after[line.end]
    return replace(following, into_else=True, blank=following.blank or last.command == BLANK)


def ends_with_blank(nodes: Sequence[Node]) -> Iterator[bool]:
    """For each line, whether the last line under it is blank."""
    return (bool(node.block) and node.block[-1].command == BLANK for node in nodes)
