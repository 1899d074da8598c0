"""Syntax trees of expressions and text (`codegen` compiles them)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pluralign.games.choicescript.language.values import Value, constant, text


class ExpressionError(Exception):
    """A malformed expression. The compiler adds file and line."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal number, string or boolean."""

    value: Value


@dataclass(frozen=True, slots=True)
class Variable:
    """The value of a variable, by its name in lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of a variable with a computed name: ``name[1]`` is ``name_1``, and x names ``{x}``."""

    prefix: str
    ending: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two values and an operator of `operators.BINARY`.

    The operator "then" is an *and* of which the right side is only evaluated if the left side is true.
    """

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Not:
    """``not(...)``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function of `operators.FUNCTIONS`."""

    function: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Pick:
    """``@{value one|two}``: the text that the value selects."""

    value: Expression
    texts: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Capital:
    """``$!{...}`` (the first letter) or ``$!!{...}`` (every letter) in upper case."""

    operand: Expression
    every_letter: bool


@dataclass(frozen=True, slots=True)
class Template:
    """Text with substituted values."""

    parts: tuple[str | Expression, ...]

    @property
    def constant(self) -> str | None:
        """The text, if it has no substituted values; else None."""
        if not self.parts:
            return ""
        only = self.parts[0]
        return only if len(self.parts) == 1 and isinstance(only, str) else None


Expression = Literal | Variable | Reference | Binary | Not | Call | Pick | Capital | Template


def named(prefix: str, ending: Expression) -> Variable | Reference | Literal:
    """The variable with this name, resolved at once if the name is constant: ``{"true"}`` is true."""
    if not isinstance(ending, Literal):
        return Reference(prefix.lower(), ending)
    name = (prefix + text(ending.value)).lower()
    value = constant(name)
    return Variable(name) if value is None else Literal(value)


def children(expression: Expression) -> Iterator[Expression]:
    """The direct subexpressions of an expression."""
    match expression:
        case Literal() | Variable():
            return
        case Reference(_, ending):
            yield ending
        case Binary(_, left, right):
            yield left
            yield right
        case Not(operand) | Capital(operand, _) | Call(_, operand):
            yield operand
        case Pick(value, texts):
            yield value
            yield from texts
        case Template(parts):
            yield from (part for part in parts if not isinstance(part, str))


def walk(expression: Expression) -> Iterator[Expression]:
    """An expression and all its subexpressions, each before its own."""
    waiting = [expression]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(reversed(tuple(children(found))))


def variables(expression: Expression) -> Iterator[str]:
    """Names of the variables that an expression names literally, in lower case."""
    return (part.name for part in walk(expression) if isinstance(part, Variable))
