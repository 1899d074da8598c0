"""What ChoiceScript's operators mean.

A value is a string, an int or a float. A boolean is stored as ``"true"`` or ``"false"``, so that a state
that holds it never compares equal to one that holds 1 (Python's ``True == 1``). Source of the rules:
``web/scene.js`` and ``web/util.js`` of the official engine (dfabulich/choicescript).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

Value = str | int | float
"""What a variable holds."""

NOT_CREATED = None
"""The slot of a temporary variable before its ``*temp`` has run."""

NO_VALUE = ...
"""The slot of a temporary variable that ``*temp`` made without a value."""

# Python's float() would also take nan and 1_000.
_NUMERAL = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")

# JavaScript prints integers beyond this in exponent form, and so must the text of a story.
_LARGEST_PLAIN = 1e21


class EvaluationError(Exception):
    """An expression cannot be evaluated. The interpreter adds file and line."""


def number(value: Value) -> int | float:
    """The value as a number; strings that spell one are taken."""
    if type(value) is int or type(value) is float:
        return value
    if value is True or value == "true":
        return 1
    if value is False or value == "false" or value == "":
        return 0
    if isinstance(value, str) and not _NUMERAL.fullmatch(value):
        raise EvaluationError(f"not a number: {value!r}")
    return tidy(float(value))


def truth(value: Value) -> bool:
    """The value as a boolean; only true, false and their spellings are one."""
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise EvaluationError(f"neither true nor false: {text(value)!r}")


def text(value: Value) -> str:
    """The value as it is printed."""
    if type(value) is str:
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PLAIN:
        return str(int(value))
    return str(value)


def tidy(value: float) -> int | float:
    """Whole floats become ints: 4 / 2 prints as 2."""
    return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN else value


def stored(value: Value) -> Value:
    """The value as a variable keeps it: booleans by their spelling."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return value


def read_temporary(value: Any) -> Value:
    """A temporary variable's value.

    Raises:
        EvaluationError: it has none yet.
    """
    if value is NOT_CREATED:
        raise EvaluationError("the *temp of a variable read here has not been passed yet")
    if value is NO_VALUE:
        raise EvaluationError("a variable read here exists but has no value")
    return value


def add(a: Value, b: Value) -> Value:
    """``a + b``."""
    return number(a) + number(b)


def subtract(a: Value, b: Value) -> Value:
    """``a - b``."""
    return number(a) - number(b)


def multiply(a: Value, b: Value) -> Value:
    """``a * b``."""
    return number(a) * number(b)


def divide(a: Value, b: Value) -> Value:
    """``a / b``; nothing is divided by zero."""
    divisor = number(b)
    if divisor == 0:
        raise EvaluationError("division by zero")
    return tidy(number(a) / divisor)


def modulo(a: Value, b: Value) -> Value:
    """``a % b`` with the sign of a, as JavaScript has it."""
    divisor = number(b)
    if divisor == 0:
        raise EvaluationError("division by zero")
    return tidy(math.fmod(number(a), divisor))


def fair_add(a: Value, b: Value) -> Value:
    """``a %+ b``: the share b of what is left to 100, rounded down, at most 99."""
    percentile, change = number(a), number(b)
    if not 0 <= percentile <= 100:
        raise EvaluationError(f"fairmath needs a value from 0 to 100, found {text(percentile)}")
    if change > 0:
        return min(99, math.floor(percentile + change * ((100 - percentile) / 100)))
    return max(1, math.ceil(percentile - (0 - change) * (percentile / 100)))


def fair_subtract(a: Value, b: Value) -> Value:
    """``a %- b``: the share b of the value itself, rounded up, at least 1."""
    return fair_add(a, -number(b))


def join(a: Value, b: Value) -> Value:
    """``a & b``: the two texts together."""
    return text(a) + text(b)


def character(a: Value, b: Value) -> Value:
    """``a # b``: the character at position b, from 1."""
    letters, position = text(a), number(b)
    if not 1 <= position <= len(letters):
        raise EvaluationError(f"{letters!r} has no character at position {text(position)}")
    return letters[math.ceil(position) - 1]


def equal(a: Value, b: Value) -> Value:
    """``a = b``: equal as they stand, or as they print."""
    return a == b or text(a) == text(b)


def not_equal(a: Value, b: Value) -> Value:
    """``a != b``."""
    return not equal(a, b)


def less(a: Value, b: Value) -> Value:
    """``a < b``."""
    return number(a) < number(b)


def greater(a: Value, b: Value) -> Value:
    """``a > b``."""
    return number(a) > number(b)


def at_most(a: Value, b: Value) -> Value:
    """``a <= b``."""
    return number(a) <= number(b)


def at_least(a: Value, b: Value) -> Value:
    """``a >= b``."""
    return number(a) >= number(b)


def both(a: Value, b: Value) -> Value:
    """``a and b``."""
    return truth(a) and truth(b)


def either(a: Value, b: Value) -> Value:
    """``a or b``."""
    return truth(a) or truth(b)


def negate(a: Value) -> Value:
    """``not(a)``."""
    return not truth(a)


def pick(value: Value, size: int) -> int:
    """Which of a multireplace's ``size`` texts a value picks, from 0: true the first, false the second."""
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
        return 0 if truth(value) else 1
    position = number(value)
    if position != int(position) or not 1 <= position <= size:
        raise EvaluationError(f"@{{...}} lists {size} texts, and its value is {text(value)!r}")
    return int(position) - 1


def capitalise(value: str) -> str:
    """The text with its first letter in upper case."""
    return value[:1].upper() + value[1:]


BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
    "modulo": modulo,
    "%+": fair_add,
    "%-": fair_subtract,
    "&": join,
    "#": character,
    "=": equal,
    "!=": not_equal,
    "<": less,
    ">": greater,
    "<=": at_most,
    ">=": at_least,
    "and": both,
    "or": either,
}
"""Every binary operator, by its spelling."""
