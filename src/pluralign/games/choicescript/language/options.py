"""Parser of the lines under a ``*choice``: options, and the conditions around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
from pluralign.games.choicescript.language.syntax import Binary, Expression, ExpressionError, Literal, Not
from pluralign.games.choicescript.language.values import FALSE

_PREFIX = re.compile(r"\*(\w+)\s*")
_REUSE = ("hide_reuse", "disable_reuse", "allow_reuse")


@dataclass(frozen=True)
class OptionLine:
    """An option as it is written, or a line that is none.

    Args:
        node: Line of the option.
        text: Text, in which values may be substituted.
        around: Condition from every ``*if`` around it; None for always.
        guard: Condition under which it is shown: the one around it and that of its own line; None for always.
        selectable: Condition under which it can be taken; None for always.
        reuse: Reuse command before it, or "".
        printed: Expression of a ``*print``, which computes the text with its #; None for other options.
        fault: Error of a line that play must not reach; "" for an option.
    """

    node: Node
    text: str = ""
    around: Expression | None = None
    guard: Expression | None = None
    selectable: Expression | None = None
    reuse: str = ""
    printed: Expression | None = None
    fault: str = ""

    @property
    def body(self) -> Sequence[Node]:
        """Lines that are played when it is taken."""
        return self.node.block


def option_lines(choice: Node, *, strict: bool = True) -> Iterator[OptionLine]:
    """The options of a choice, in order.

    Args:
        choice: ``*choice`` line, or the option above another group of options.
        strict: Whether to refuse every line that is not an option, two unconditional options with the same
            text, and a reuse command after ``*if``. Otherwise only the line itself is faulty.

    Raises:
        InputError: There are no options; or, if strict, a line is not an option or two have the same text.
    """
    always: dict[str, int] = {}
    count = 0
    for option in _options(choice.block, None, strict):
        count += 1
        if option.guard is None and strict:
            if option.text in always:
                raise option.node.error(
                    f"the option on line {always[option.text]} has the same text: {option.text!r}"
                )
            always[option.text] = option.node.line
        yield option
    if not count:
        where = f"*{choice.command}" if not choice.is_option else "this option"
        raise choice.error(f"expected options (#...) indented under {where}")


def _options(nodes: Sequence[Node], guard: Expression | None, strict: bool) -> Iterator[OptionLine]:
    earlier: Expression | None = None
    for node in nodes:
        if node.command == BLANK:
            continue
        if node.command == "comment":
            if pluralign_note(node) is not None:
                raise node.error("play never passes this annotation; it belongs under an #option")
            continue
        try:
            if node.is_option:
                earlier = None
                yield _option(node, guard, strict)
            elif node.command == "if" or (node.command in CONTINUATIONS and earlier is not None):
                yield from _branch(node, guard, earlier if node.command != "if" else None, strict)
                earlier = _left_over(node, earlier)
            elif node.command == "print":
                earlier = None
                yield OptionLine(node, around=guard, guard=guard, printed=_parsed(node, node.data))
            elif node.command not in CONTINUATIONS or strict:
                raise _no_option(node)
            elif node.is_empty:
                yield OptionLine(node, guard=guard, fault=f"expected options indented under *{node.command}")
        except InputError as error:
            if strict:
                raise
            # Nothing is known of a condition that cannot be read; play stops at it first.
            earlier = Literal(FALSE) if node.command == "if" or earlier is not None else None
            yield OptionLine(node, guard=guard, fault=error.message)


def _branch(
    node: Node, guard: Expression | None, earlier: Expression | None, strict: bool
) -> Iterator[OptionLine]:
    """The options under ``*if``, ``*elseif`` or ``*else``."""
    taken = _both(earlier, _condition(node) if node.command != "else" else None)
    if not node.is_empty:
        yield from _options(node.block, _both(guard, taken), strict)
        return
    error = node.error(f"expected options indented under *{node.command}")
    if strict:
        raise error
    if taken is not None:
        # Only a branch that is not taken needs lines to pass.
        yield OptionLine(node, guard=_both(guard, Not(taken)), fault=error.message)


def _left_over(node: Node, earlier: Expression | None) -> Expression | None:
    """Condition under which play comes to the next ``*elseif``."""
    if node.command == "else":
        return None
    otherwise = Not(_condition(node))
    return otherwise if node.command == "if" else _both(earlier, otherwise)


def _no_option(node: Node) -> InputError:
    if node.command == FAULT:
        return node.error(node.data)
    return node.error(f"expected an #option here, found *{node.command or 'text'}".replace("*text", "text"))


def _option(node: Node, guard: Expression | None, strict: bool) -> OptionLine:
    """Parse the line of an option: commands, then the text."""
    option, command, rest = OptionLine(node, around=guard, guard=guard), node.command, node.data
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


def _both(a: Expression | None, b: Expression | None) -> Expression | None:
    if a is None or b is None:
        return a or b
    return Binary("then", a, b)
