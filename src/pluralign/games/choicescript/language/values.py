"""Values of ChoiceScript variables, and their conversions to numbers, booleans and text.

A value is a string, a boolean (`Truth`) or a number. The official engine keeps the numbers of the source as
they are spelled: ``2`` is the text "2", and ``1 + 1`` is a number. Both print and calculate alike, and only a
comparison with a text such as "2.0" tells them apart, so literals have types of their own (`WholeLiteral`,
`DecimalLiteral`) that equal the numbers in saved states. Source of the rules: ``web/scene.js`` and
``web/util.js`` of the official engine (dfabulich/choicescript).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any


class Truth(str):
    """A boolean, by its spelling, so that a state that holds it never equals one that holds 1 (True == 1)."""

    __slots__ = ()


class WholeLiteral(int):
    """A whole number as the source spells it: a text of the official engine."""

    __slots__ = ()


class DecimalLiteral(float):
    """A decimal as the source spells it, if it prints as it is spelled."""

    __slots__ = ()


TRUE, FALSE = Truth("true"), Truth("false")

Value = str | int | float
"""Value of a variable."""

NOT_CREATED = None
"""Content of a variable's slot before its ``*temp`` has run, or after its ``*delete``."""

NO_VALUE = ...
"""Content of the slot of a temporary variable that ``*temp`` created without a value."""

NUMBERS = frozenset({int, float, WholeLiteral, DecimalLiteral})
"""Types of numbers."""

_TEXTS = frozenset({str, WholeLiteral, DecimalLiteral})
# Python's float() would also take nan and 1_000, and its \d other digits than 0 to 9.
_DECIMAL = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
_LEADING_NUMBER = re.compile(rf"\s*({_DECIMAL})")
_WHOLE_NUMBER = re.compile(rf"\s*({_DECIMAL}|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|[-+]?Infinity)?\s*")

# JavaScript prints integers from here on in exponent form.
_LARGEST_PLAIN = 1e21

# Larger integers are rounded as in JavaScript; otherwise a loop could let them grow without bound.
_LARGEST_EXACT = 2**53


class EvaluationError(Exception):
    """An error in play. The game adds file and line.

    Args:
        message: Error message.
        line: Number of the line, if it is not that of the current instruction.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def number(value: Value) -> int | float:
    """The value as a number for an operator: a text counts if it begins with one ("5 apples").

    Raises:
        EvaluationError: The value is a boolean, or a text that does not begin with a number.
    """
    kind = type(value)
    if kind is int or kind is WholeLiteral or kind is float or kind is DecimalLiteral:
        return value  # type: ignore[return-value]
    if isinstance(value, str) and kind is not Truth:
        found = _LEADING_NUMBER.match(value)
        if found is not None:
            return bounded(float(found.group(1)))
    raise EvaluationError(f"not a number: {text(value)!r}")


def numeric(value: Value) -> int | float | None:
    """The value as a number for an equality, a bound, ``round`` and ``log``; None if it is not one.

    True counts as 1, false and an empty text as 0, and a text must be a number as a whole.
    """
    if isinstance(value, bool | Truth):
        return int(truth(value))
    if not isinstance(value, str):
        return value
    found = _WHOLE_NUMBER.fullmatch(value)
    if found is None:
        return None
    spelled = found.group(1) or "0"
    return tidy(float(int(spelled, 0)) if spelled[1:2] in tuple("xXoObB") else float(spelled))


def truth(value: Value) -> bool:
    """The value as a boolean; only booleans and the texts "true" and "false" are allowed.

    Raises:
        EvaluationError: The value is not a boolean.
    """
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    raise EvaluationError(f"neither true nor false: {text(value)!r}")


def truthy(value: Value) -> bool:
    """Whether JavaScript takes the value for true; of the texts only the empty one is false."""
    if isinstance(value, bool | Truth):
        return truth(value)
    return text(value) != "" if type(value) in _TEXTS else value != 0


def text(value: Value) -> str:
    """The value as it is printed."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    if kind is int or kind is WholeLiteral:
        return str(value) if -_LARGEST_EXACT <= value <= _LARGEST_EXACT else _digits(float(value))  # type: ignore[operator]
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, float):
        return _digits(value)
    return str(value)


def _digits(value: float) -> str:
    spelled = float.__repr__(value)
    if value.is_integer() and abs(value) < _LARGEST_PLAIN:
        # The shortest digits that identify the number, then zeros.
        return f"{Decimal(spelled):.0f}"
    if "e" not in spelled:
        return spelled
    mantissa, _, exponent = spelled.partition("e")
    # JavaScript prints smaller numbers in exponent form.
    return f"{Decimal(spelled):f}" if -6 <= int(exponent) < 0 else f"{mantissa}e{int(exponent):+d}"


def tidy(value: float) -> int | float:
    """The number, as an int if it is whole: 4 / 2 prints as 2."""
    return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN else value


def bounded(value: int | float) -> int | float:
    """A result, rounded as in JavaScript, as an int if it is whole.

    Raises:
        EvaluationError: The result is not finite.
    """
    if type(value) is int:
        return value if -_LARGEST_EXACT <= value <= _LARGEST_EXACT else tidy(_rounded(value))
    if not math.isfinite(value):
        raise EvaluationError("the result is too large for a number")
    return tidy(value)


def _rounded(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise EvaluationError("the result is too large for a number") from None


def literal(spelled: str) -> Value | None:
    """The value of a number as the source spells it; None if it is too large."""
    value = tidy(float(spelled))
    if value == math.inf:
        return None
    if text(value) != spelled:
        # 2.50 prints as 2.50.
        return spelled
    return WholeLiteral(value) if isinstance(value, int) else DecimalLiteral(value)


def constant(name: str) -> Value | None:
    """Value of a constant by its name: ``true``, ``false`` or a number; None for other names."""
    if name in ("true", "false"):
        return Truth(name)
    value = numeric(name) if name else None
    return value if value is not None and text(value) == name else None


def is_whole(value: Value) -> bool:
    """Whether a bound is a whole number; a text must also be spelled as one (1.0 is a decimal)."""
    if isinstance(value, bool | Truth):
        return False
    found = numeric(value)
    return isinstance(found, int) and text(found) == text(value)


def equal(a: Value, b: Value) -> bool:
    """``a = b``: loosely equal values, or values that print the same."""
    if a == b:
        return True
    left, right = type(a), type(b)
    if (left is str and right is str) or (left in NUMBERS and right in NUMBERS):
        return False
    return text(a) == text(b) or loosely_equal(a, b)


def loosely_equal(a: Value, b: Value) -> bool:
    """JavaScript's ``a == b``: compares two texts by their letters, and other pairs as numbers."""
    if type(a) in _TEXTS and type(b) in _TEXTS:
        return text(a) == text(b)
    left, right = numeric(a), numeric(b)
    return left is not None and left == right


def stored(value: Value) -> Value:
    """The value as a variable stores it."""
    if value is True:
        return TRUE
    if value is False:
        return FALSE
    return value


def read_variable(value: Any) -> Value:
    """The value in a slot that may be empty.

    Raises:
        EvaluationError: The variable does not exist or has no value.
    """
    if value is NOT_CREATED:
        raise EvaluationError("a variable read here does not exist: its *temp has not been passed yet")
    if value is NO_VALUE:
        raise EvaluationError("a variable read here exists but has no value")
    return value


def pick(value: Value, size: int) -> int:
    """Index of the text that a value selects in ``@{...}``, from 0: true selects the first, false the second.

    Args:
        value: Boolean, or number from 1.
        size: Number of texts.

    Raises:
        EvaluationError: The value is not in the range.
    """
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
        return 0 if truth(value) else 1
    position = number(value)
    if position != int(position) or not 1 <= position <= size:
        raise EvaluationError(f"@{{...}} lists {size} texts, and its value is {text(value)!r}")
    return int(position) - 1
