"""The lines under a ``*choice``: options, and the conditions around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pluralign.games.choicescript.expressions import Binary, Expression, ExpressionError, Not, parse
from pluralign.games.choicescript.head import pluralign_note
from pluralign.games.choicescript.parser import BLANK, OPTION, Node

_CONDITION = re.compile(r"\((.*)\)\s+#\s*(\S.*)")
_COMMAND = re.compile(r"\*(\w+)\s*(.*)")


@dataclass(frozen=True)
class OptionLine:
    """An option as it is written.

    Args:
        text: with its values still to be filled in.
        guard: whether it is shown, from every *if around it and its own; None for always.
        selectable: whether it can be taken; None for always.
        reuse: the reuse command before it, or "".
    """

    node: Node
    text: str
    guard: Expression | None
    selectable: Expression | None
    reuse: str

    @property
    def body(self) -> Sequence[Node]:
        """The lines that play passes when it is taken."""
        return self.node.block


def option_lines(choice: Node) -> Iterator[OptionLine]:
    """The options of a choice, in order.

    Raises:
        InputError: a line among them is no option, or there are none, or two always stand with one text.
    """
    always: dict[str, int] = {}
    count = 0
    for option in _options(choice.block, None):
        count += 1
        if option.guard is None:
            if option.text in always:
                raise option.node.error(
                    f"the option on line {always[option.text]} has the same text: {option.text!r}"
                )
            always[option.text] = option.node.line
        yield option
    if not count:
        raise choice.error(f"expected options (#...) indented under *{choice.command}")


def _options(nodes: Sequence[Node], guard: Expression | None) -> Iterator[OptionLine]:
    earlier: Expression | None = None
    open_chain = False
    for node in nodes:
        if node.command == BLANK:
            continue
        if node.is_option:
            open_chain = False
            yield _option(node, guard)
            continue
        match node.command:
            case "if":
                condition = _condition(node)
                earlier, open_chain = Not(condition), True
                yield from _options(node.block, _both(guard, condition))
            case "elseif" | "elsif" | "else" if open_chain:
                assert earlier is not None
                condition = _condition(node) if node.command != "else" else None
                yield from _options(node.block, _both(guard, _both(earlier, condition)))
                open_chain = condition is not None
                if condition is not None:
                    earlier = Binary("and", earlier, Not(condition))
            case "comment":
                if pluralign_note(node) is not None:
                    raise node.error("no play passes this annotation; it belongs under an #option")
            case _:
                raise node.error(
                    f"expected an #option here, found *{node.command or 'text'}".replace("*text", "text")
                )


def _option(node: Node, guard: Expression | None) -> OptionLine:
    reuse, command, data = "", node.command, node.data
    if command in ("hide_reuse", "disable_reuse", "allow_reuse"):
        reuse = command
        match = _COMMAND.match(data)
        command, data = (match.group(1).lower(), match.group(2)) if match else (OPTION, data[1:].strip())
    if command == OPTION:
        if not data:
            raise node.error("an option needs text after its #")
        return OptionLine(node, data, guard, None, reuse)
    match = _CONDITION.match(data)
    if match is None:
        raise node.error(f"expected *{command} (CONDITION) #OPTION, found {data!r}")
    try:
        condition = parse(match.group(1))
    except ExpressionError as error:
        raise node.error(str(error)) from None
    text = match.group(2).strip()
    if command == "if":
        return OptionLine(node, text, _both(guard, condition), None, reuse)
    return OptionLine(node, text, guard, condition, reuse)


def _condition(node: Node) -> Expression:
    late = re.search(r"\)\s+\*(\w+)", node.data)
    if late is not None:
        raise node.error(f"*{late.group(1)} comes before *{node.command} on an option's line")
    if not node.block:
        raise node.error(f"expected options indented under *{node.command}")
    try:
        return parse(node.data)
    except ExpressionError as error:
        raise node.error(str(error)) from None


def _both(a: Expression | None, b: Expression | None) -> Expression | None:
    if a is None or b is None:
        return a or b
    return Binary("and", a, b)
