"""Parser of the lines under a ``*choice``: options, and the conditions around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pluralign.core import InputError
from pluralign.games.choicescript.language.expressions import parse
from pluralign.games.choicescript.language.head import pluralign_note
from pluralign.games.choicescript.language.parser import (
    BLANK,
    CONTINUATIONS,
    FAULT,
    OPTION,
    Node,
    option_start,
)
from pluralign.games.choicescript.language.syntax import Binary, Expression, ExpressionError

_PREFIX = re.compile(r"\*(\w+)\s*")
_REUSE = ("hide_reuse", "disable_reuse", "allow_reuse")


@dataclass(frozen=True)
class OptionLine:
    """An option as it is written, or a line that is none.

    Args:
        node: Line of the option.
        text: Text, in which values may be substituted.
        guard: Condition of the ``*if`` on its own line; None for always.
        selectable: Condition under which it can be taken; None for always.
        reuse: Reuse command before it, or "".
        printed: Expression of a ``*print``, which computes the text with its #; None for other options.
        fault: Error of a line that play must not reach; "" for an option.
    """

    node: Node
    text: str = ""
    guard: Expression | None = None
    selectable: Expression | None = None
    reuse: str = ""
    printed: Expression | None = None
    fault: str = ""

    @property
    def body(self) -> Sequence[Node]:
        """Lines that are played when it is taken."""
        return self.node.block


@dataclass(frozen=True)
class BranchLines:
    """The options under an ``*if``, ``*elseif`` or ``*else``.

    Args:
        node: Line of the command.
        condition: Its condition; None for ``*else``.
        lines: Lines of the branch.
        passing: Error if play passes the branch without entering it; "" for none.
    """

    node: Node
    condition: Expression | None
    lines: Sequence[ChoiceLine]
    passing: str = ""


ChoiceLine = OptionLine | list[BranchLines]
"""An option, or the branches of an ``*if``."""


def option_lines(choice: Node, *, strict: bool = True) -> list[ChoiceLine]:
    """The options of a choice, in order, in the branches that contain them.

    Args:
        choice: ``*choice`` line, or the option above another group of options.
        strict: Whether to refuse every line that is not an option, two unconditional options with the same
            text, and a reuse command after ``*if``. Otherwise only the line itself is faulty.

    Raises:
        InputError: There are no options; or, if strict, a line is not an option or two have the same text.
    """
    lines = _lines(choice.block, strict)
    always: dict[str, int] = {}
    for option in lines:
        if isinstance(option, OptionLine) and option.guard is None and strict:
            if option.text in always:
                raise option.node.error(
                    f"the option on line {always[option.text]} has the same text: {option.text!r}"
                )
            always[option.text] = option.node.line
    if not _any(lines):
        where = f"*{choice.command}" if not choice.is_option else "this option"
        raise choice.error(f"expected options (#...) indented under {where}")
    return lines


def _any(lines: Sequence[ChoiceLine]) -> bool:
    """Whether there are options, or errors that play can reach."""
    return any(
        isinstance(line, OptionLine) or any(branch.passing or _any(branch.lines) for branch in line)
        for line in lines
    )


def _lines(nodes: Sequence[Node], strict: bool) -> list[ChoiceLine]:
    lines: list[ChoiceLine] = []
    branches: list[BranchLines] = []
    for node in nodes:
        if node.command == BLANK:
            continue
        if node.command == "comment":
            if pluralign_note(node) is not None:
                raise node.error("play never passes this annotation; it belongs under an #option")
            continue
        if node.command == "if" and not node.is_option:
            branches = []
            lines.append(branches)
        elif node.command in CONTINUATIONS and not branches:
            if strict:
                raise _no_option(node)
            if node.is_empty:
                lines.append(OptionLine(node, fault=_needs_lines(node)))
            continue
        elif node.command not in CONTINUATIONS:
            branches = []
            lines.append(_single(node, strict))
            continue
        branches.append(_branch(node, strict))
        if node.command == "else":
            branches = []
    return lines


def _branch(node: Node, strict: bool) -> BranchLines:
    condition, fault, passing = None, "", _needs_lines(node) if node.is_empty else ""
    if node.command == "else" and node.data:
        fault = passing = f"expected nothing after *else, found {node.data!r} (*elseif takes a condition)"
    elif node.command in CONTINUATIONS and re.match(r"\(.*\)\s+#", node.data):
        fault = passing = f"expected the #option on the line below *{node.command}, found {node.data!r}"
    elif node.command != "else":
        try:
            condition = _condition(node)
        except InputError as error:
            fault = error.message
    if strict and (fault or passing):
        raise node.error(fault or passing)
    lines = _lines(node.block, strict)
    # Play stops at a condition that cannot be read.
    return BranchLines(node, condition, [OptionLine(node, fault=fault), *lines] if fault else lines, passing)


def _single(node: Node, strict: bool) -> OptionLine:
    """An option, or a line that is none."""
    try:
        if node.is_option:
            return _option(node, strict)
        if node.command == "print":
            return OptionLine(node, printed=_parsed(node, node.data))
        raise _no_option(node)
    except InputError as error:
        if strict:
            raise
        return OptionLine(node, fault=error.message)


def _needs_lines(node: Node) -> str:
    return f"expected options indented under *{node.command}"


def _no_option(node: Node) -> InputError:
    if node.command == FAULT:
        return node.error(node.data)
    return node.error(f"expected an #option here, found *{node.command or 'text'}".replace("*text", "text"))


def _option(node: Node, strict: bool) -> OptionLine:
    """Parse the line of an option: commands, then the text."""
    option, command, rest = OptionLine(node), node.command, node.data
    while command != OPTION:
        if command in _REUSE:
            option = replace(option, reuse=command)
        elif command == "random_weight":
            # The official engine ignores the weight in play.
            rest = re.sub(r"^[^#*]*", "", rest)
        else:
            option, rest = _guarded(option, command, rest, strict)
        command, rest = _next_prefix(node, rest)
    if not rest:
        raise node.error("an option needs text after its #")
    return replace(option, text=rest)


def _next_prefix(node: Node, rest: str) -> tuple[str, str]:
    if rest.startswith("#"):
        return OPTION, rest[1:].strip()
    match = _PREFIX.match(rest)
    if match is None or match.group(1).lower() not in (*_REUSE, "if", "selectable_if", "random_weight"):
        raise node.error(f"expected an #option on this line, found {rest!r}")
    return match.group(1).lower(), rest[match.end() :]


def _guarded(option: OptionLine, command: str, rest: str, strict: bool) -> tuple[OptionLine, str]:
    node = option.node
    end = option_start(rest)
    late = re.search(r"\s\*(\w+)\s*(?:\(.*)?$", rest[:end])
    if late is not None and late.group(1).lower() in (*_REUSE, "selectable_if", "random_weight"):
        if strict:
            raise node.error(f"*{late.group(1)} comes before *{command} on an option's line")
        end = late.start() + 1
    source = rest[:end].strip()
    if strict and not (source.startswith("(") and source.endswith(")")):
        raise node.error(f"expected *{command} (CONDITION) #OPTION, found {rest!r}")
    condition = _parsed(node, source)
    if command == "if":
        return replace(option, guard=_both(option.guard, condition)), rest[end:]
    return replace(option, selectable=condition), rest[end:]


def _condition(node: Node) -> Expression:
    late = re.search(r"\)\s+\*(\w+)", node.data)
    if late is not None:
        raise node.error(f"*{late.group(1)} comes before *{node.command} on an option's line")
    return _parsed(node, node.data)


def _parsed(node: Node, source: str) -> Expression:
    try:
        return parse(source)
    except ExpressionError as error:
        raise node.error(str(error)) from None


def _both(a: Expression | None, b: Expression) -> Expression:
    return b if a is None else Binary("then", a, b)
