"""Expressions to Python functions of the slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pluralign.games.choicescript import operators
from pluralign.games.choicescript.expressions import (
    Binary,
    Capital,
    Expression,
    Literal,
    Not,
    Pick,
    Template,
    Variable,
)

Resolve = Callable[[str], str]
"""From a variable's name to Python source that reads it out of the slots ``v``."""

Compiled = Callable[[list[Any]], Any]
"""From the slots to a value."""


def compile_expression(expression: Expression, resolve: Resolve) -> Compiled:
    """A function from the slots to the expression's value."""
    return _function(_source(expression, resolve, depth=0))


def compile_condition(expression: Expression, resolve: Resolve) -> Compiled:
    """A function from the slots to True or False."""
    return _function(f"truth({_source(expression, resolve, depth=0)})")


def compile_assignment(expression: Expression, resolve: Resolve) -> Compiled:
    """A function from the slots to the value as a variable keeps it."""
    return _function(f"stored({_source(expression, resolve, depth=0)})")


_NAMES: dict[str, Any] = {
    function.__name__: function
    for function in (
        *operators.BINARY.values(),
        operators.negate,
        operators.truth,
        operators.text,
        operators.stored,
        operators.pick,
        operators.capitalise,
        operators.read_temporary,
    )
}


def _function(source: str) -> Compiled:
    # Only literals, slot numbers and the names above are ever written into the source.
    return eval(f"lambda v: {source}", {"__builtins__": {}, **_NAMES})


def _source(expression: Expression, resolve: Resolve, depth: int) -> str:
    match expression:
        case Literal(value):
            return repr(value)
        case Variable(name):
            return resolve(name)
        case Binary(("and" | "or") as word, left, right):
            a, b = _source(left, resolve, depth), _source(right, resolve, depth)
            return f"(truth({a}) {word} truth({b}))"
        case Binary(operator, left, right):
            a, b = _source(left, resolve, depth), _source(right, resolve, depth)
            return f"{operators.BINARY[operator].__name__}({a}, {b})"
        case Not(operand):
            return f"negate({_source(operand, resolve, depth)})"
        case Capital(operand, every_letter):
            inner = f"text({_source(operand, resolve, depth)})"
            return f"{inner}.upper()" if every_letter else f"capitalise({inner})"
        case Pick(value, texts):
            return _pick_source(value, texts, resolve, depth)
        case Template(parts):
            pieces = [repr(p) if isinstance(p, str) else f"text({_source(p, resolve, depth)})" for p in parts]
            return f"({' + '.join(pieces)})" if pieces else "''"


def _pick_source(value: Expression, texts: tuple[Template, ...], resolve: Resolve, depth: int) -> str:
    index = f"i{depth}"
    sources = [_source(text, resolve, depth + 1) for text in texts]
    chosen = f"({index} := pick({_source(value, resolve, depth + 1)}, {len(texts)}))"
    cases = f"{sources[0]} if {chosen} == 0 else "
    for position in range(1, len(sources) - 1):
        cases += f"{sources[position]} if {index} == {position} else "
    return f"({cases}{sources[-1]})"
