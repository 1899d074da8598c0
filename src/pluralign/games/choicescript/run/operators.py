"""ChoiceScript's operators and functions.

Source of the rules: ``web/scene.js`` and ``web/util.js`` of the official engine (dfabulich/choicescript).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from pluralign.games.choicescript.language import letters
from pluralign.games.choicescript.language.values import (
    EvaluationError,
    Value,
    bounded,
    equal,
    loosely_equal,
    number,
    numeric,
    text,
    tidy,
    truth,
)

# Maximum length of a string; a story that doubles one in a loop ends with an error.
_LONGEST = 100_000


def add(a: Value, b: Value) -> Value:
    """``a + b``."""
    return bounded(number(a) + number(b))


def subtract(a: Value, b: Value) -> Value:
    """``a - b``."""
    return bounded(number(a) - number(b))


def multiply(a: Value, b: Value) -> Value:
    """``a * b``."""
    return bounded(number(a) * number(b))


def divide(a: Value, b: Value) -> Value:
    """``a / b``; division by zero is an error."""
    divisor = number(b)
    if divisor == 0:
        raise EvaluationError("division by zero")
    return bounded(number(a) / divisor)


def modulo(a: Value, b: Value) -> Value:
    """``a % b`` with the sign of a, as in JavaScript."""
    divisor = number(b)
    if divisor == 0:
        raise EvaluationError("division by zero")
    return tidy(math.fmod(number(a), divisor))


def power(a: Value, b: Value) -> Value:
    """``a ^ b``."""
    try:
        result = float(number(a)) ** float(number(b))
    except (OverflowError, ZeroDivisionError):
        raise EvaluationError(f"{text(a)} ^ {text(b)} is too large for a number") from None
    if isinstance(result, complex):
        raise EvaluationError(f"{text(a)} ^ {text(b)} is not a number")
    return tidy(result)


def fair_add(a: Value, b: Value) -> Value:
    """``a %+ b``: a plus b per cent of the difference to 100, rounded down, at most 99."""
    percentile, change = number(a), number(b)
    if not 0 <= percentile <= 100:
        raise EvaluationError(f"fairmath needs a value from 0 to 100, found {text(percentile)}")
    if change > 0:
        return min(99, math.floor(percentile + change * ((100 - percentile) / 100)))
    return max(1, math.ceil(percentile - (0 - change) * (percentile / 100)))


def fair_subtract(a: Value, b: Value) -> Value:
    """``a %- b``: a minus b per cent of a, rounded up, at least 1."""
    return fair_add(a, -number(b))


def join(a: Value, b: Value) -> Value:
    """``a & b``: the two texts concatenated."""
    joined = letters.whole(text(a) + text(b))
    if len(joined) > _LONGEST:
        raise EvaluationError(f"a text of more than {_LONGEST} characters")
    return joined


def character(a: Value, b: Value) -> Value:
    """``a # b``: the character at position b, from 1."""
    of, position = text(a), number(b)
    if not 1 <= position <= letters.length(of):
        raise EvaluationError(f"{of!r} has no character at position {text(position)}")
    return letters.character(of, int(position - 1))


def not_equal(a: Value, b: Value) -> Value:
    """``a != b``: values that are not loosely equal, so that true is both equal and unequal to "true"."""
    return not loosely_equal(a, b)


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
    """``a and b``: both are evaluated, and b need not be a boolean if a is false."""
    return truth(a) and truth(b)


def either(a: Value, b: Value) -> Value:
    """``a or b``: both are evaluated, and b need not be a boolean if a is true."""
    return truth(a) or truth(b)


def negate(a: Value) -> Value:
    """``not(a)``."""
    return not truth(a)


def nearest(a: Value) -> Value:
    """``round(a)``: rounds to the nearest integer, halves up."""
    return bounded(math.floor(_converted("round", a) + 0.5))


def logarithm(a: Value) -> Value:
    """``log(a)``, to base 10: log(1000) is a little less than 3, as in JavaScript."""
    value = _converted("log", a)
    if value <= 0:
        raise EvaluationError(f"log() needs a value above 0, found {text(a)}")
    return tidy(math.log(value) / math.log(10))


def _converted(function: str, value: Value) -> int | float:
    found = numeric(value)
    if found is None or found in (math.inf, -math.inf):
        raise EvaluationError(f"{function}() needs a number, found {text(value)!r}")
    return found


def length(a: Value) -> Value:
    """``length(a)``: number of characters of its text."""
    return letters.length(text(a))


def timestamp(a: Value) -> Value:
    """``timestamp(a)``: seconds from 1970 to a date, in UTC if it has no time zone."""
    for spelling in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%B %d, %Y", "%b %d, %Y", "%b %d, %Y %H:%M:%S"):
        try:
            moment = datetime.strptime(text(a).strip().removesuffix("Z"), spelling)
        except ValueError:
            continue
        return int(moment.replace(tzinfo=UTC).timestamp())
    raise EvaluationError(f"not a date: {text(a)!r} (expected such as 2026-01-31 or January 31, 2026)")


FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "round": nearest,
    "log": logarithm,
    "length": length,
    "timestamp": timestamp,
}
"""Functions of one value except ``not``, by their spelling."""

BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
    "modulo": modulo,
    "^": power,
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
"""Binary operators by their spelling."""
