"""Compilation of expressions to Python functions of the slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pluralign.games.choicescript.language import letters, values
from pluralign.games.choicescript.language.syntax import (
    Binary,
    Call,
    Capital,
    Expression,
    ExpressionError,
    Literal,
    Not,
    Pick,
    Reference,
    Template,
    Variable,
    walk,
)
from pluralign.games.choicescript.language.values import DecimalLiteral, Truth, Value, WholeLiteral
from pluralign.games.choicescript.run import operators
from pluralign.games.choicescript.run.instructions import Compiled

Resolve = Callable[[str], str]
"""A function from a variable's name to Python source that reads it from the slots ``v``."""

Lookup = Callable[[list[Any], str], Value]
"""A function from the slots and a name computed in play to the variable's value."""


class Functions:
    """Functions compiled so far, which share their names; expressions with equal sources are one function.

    Args:
        resolve: Function from a variable's name to its source.
        lookup: Function that finds variables by computed names; None if there are none.
    """

    def __init__(self, resolve: Resolve, lookup: Lookup | None = None) -> None:
        self.resolve = resolve
        self._names: dict[str, Any] = {"__builtins__": {}, **_NAMES, "lookup": lookup}
        self._made: dict[str, Compiled] = {}

    def expression(self, expression: Expression) -> Compiled:
        """A function from the slots to the expression's value."""
        return self._function(expression, "({})")

    def condition(self, expression: Expression) -> Compiled:
        """A function from the slots to True or False."""
        return self._function(expression, "truth({})")

    def assignment(self, expression: Expression) -> Compiled:
        """A function from the slots to the value as a variable stores it."""
        return self._function(expression, "stored({})")

    def _function(self, expression: Expression, frame: str) -> Compiled:
        source = frame.format(_source(expression, self.resolve, depth=0))
        if source not in self._made:
            literals = (part.value for part in walk(expression) if isinstance(part, Literal))
            self._names |= {_constant(value): value for value in literals if type(value) is not str}
            # The source contains only literals, slot numbers, the names above and those of constants.
            try:
                self._made[source] = eval(f"lambda v: {source}", self._names)
            except (SyntaxError, MemoryError, RecursionError):
                # What Python's compiler raises for valid source that is nested too deeply.
                raise ExpressionError("this is nested too deeply") from None
        return self._made[source]


_NAMES: dict[str, Any] = {
    function.__name__: function
    for function in (
        *operators.BINARY.values(),
        *operators.FUNCTIONS.values(),
        operators.negate,
        values.truth,
        values.text,
        values.stored,
        values.pick,
        values.read_variable,
        letters.capitalise,
    )
} | {"TRUE": values.TRUE, "FALSE": values.FALSE}
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "modulo", "^", "%+", "%-", "<", ">", "<=", ">="})


def _source(expression: Expression, resolve: Resolve, depth: int) -> str:
    match expression:
        case Literal(value):
            return repr(value) if type(value) is str else _constant(value)
        case Variable(name):
            return resolve(name)
        case Reference(prefix, ending):
            return f"lookup(v, {prefix!r} + text({_source(ending, resolve, depth)}))"
        case Binary("then", left, right):
            parts = (f"truth({_source(part, resolve, depth)})" for part in (left, right))
            return f"({' and '.join(parts)})"
        case Binary(operator, left, right):
            of = _operand if operator in _ARITHMETIC else _source
            a, b = of(left, resolve, depth), of(right, resolve, depth)
            return f"{operators.BINARY[operator].__name__}({a}, {b})"
        case Not(operand):
            return f"negate({_source(operand, resolve, depth)})"
        case Call(function, operand):
            return f"{operators.FUNCTIONS[function].__name__}({_source(operand, resolve, depth)})"
        case Capital(operand, every_letter):
            inner = f"text({_source(operand, resolve, depth)})"
            return f"{inner}.upper()" if every_letter else f"capitalise({inner})"
        case Pick(value, texts):
            return _pick_source(value, texts, resolve, depth)
        case Template(parts):
            pieces = [repr(p) if isinstance(p, str) else f"text({_source(p, resolve, depth)})" for p in parts]
            # A sum of so many texts would be nested too deeply for Python.
            return f"''.join(({', '.join(pieces)},))" if len(pieces) > 1 else "".join(pieces) or "''"


def _operand(expression: Expression, resolve: Resolve, depth: int) -> str:
    if isinstance(expression, Literal) and type(expression.value) in values.NUMBERS:
        # Only a comparison tells a literal from a number.
        return repr(expression.value)
    return _source(expression, resolve, depth)


def _constant(value: Value) -> str:
    """Name of a literal in the source of a function."""
    match value:
        case Truth():
            return value.upper()
        case WholeLiteral() | DecimalLiteral():
            return f"literal_{values.text(value)}".replace(".", "_")
        case _:
            return f"number_{values.text(value)}".replace(".", "_").replace("-", "minus_").replace("+", "")


def _pick_source(value: Expression, texts: tuple[Template, ...], resolve: Resolve, depth: int) -> str:
    index = f"i{depth}"
    sources = [_source(text, resolve, depth + 1) for text in texts]
    chosen = f"({index} := pick({_source(value, resolve, depth + 1)}, {len(texts)}))"
    cases = f"{sources[0]} if {chosen} == 0 else "
    for position in range(1, len(sources) - 1):
        cases += f"{sources[position]} if {index} == {position} else "
    return f"({cases}{sources[-1]})"
