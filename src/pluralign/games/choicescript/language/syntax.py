"""The trees that expressions and text are read into (`codegen` makes functions of them)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pluralign.games.choicescript.language.values import Value, text


class ExpressionError(Exception):
    """Text that is no expression. The compiler adds file and line."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string or a boolean, written out."""

    value: Value


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable's value, by its name in lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of a variable whose name ends in a value: ``name[1]`` is ``name_1``, ``{x}`` what x names."""

    prefix: str
    ending: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two values around an operator of `operators.BINARY`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Not:
    """``not(...)``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `operators.FUNCTIONS`."""

    function: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Pick:
    """``@{value one|two}``."""

    value: Expression
    texts: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Capital:
    """``$!{...}`` (the first letter) or ``$!!{...}`` (every letter) in upper case."""

    operand: Expression
    every_letter: bool


@dataclass(frozen=True, slots=True)
class Template:
    """Text with values in it."""

    parts: tuple[str | Expression, ...]

    @property
    def constant(self) -> str | None:
        """The text, where no value stands in it."""
        if not self.parts:
            return ""
        only = self.parts[0]
        return only if len(self.parts) == 1 and isinstance(only, str) else None


Expression = Literal | Variable | Reference | Binary | Not | Call | Pick | Capital | Template


def named(prefix: str, ending: Expression) -> Variable | Reference:
    """The variable of this name: known at once where the name is constant."""
    if isinstance(ending, Literal):
        return Variable((prefix + text(ending.value)).lower())
    return Reference(prefix.lower(), ending)


def children(expression: Expression) -> Iterator[Expression]:
    """The expressions right inside an expression."""
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
    """An expression and all that stands in it."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def variables(expression: Expression) -> Iterator[str]:
    """The names of the variables that an expression names outright, in lower case."""
    return (part.name for part in walk(expression) if isinstance(part, Variable))
