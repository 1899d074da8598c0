"""Values of ChoiceScript variables, and their conversions to numbers, booleans and text.

A value is a string, an int or a float. A boolean is stored as ``"true"`` or ``"false"``, so that a state
that holds it never compares equal to one that holds 1 (Python's ``True == 1``). Source of the rules:
``web/scene.js`` and ``web/util.js`` of the official engine (dfabulich/choicescript).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

Value = str | int | float
"""Value of a variable."""

NOT_CREATED = None
"""Content of a variable's slot before its ``*temp`` has run, or after its ``*delete``."""

NO_VALUE = ...
"""Content of the slot of a temporary variable that ``*temp`` created without a value."""

# Python's float() would also take nan and 1_000.
_NUMERAL = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")

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
    """The value as a number; strings that spell a number are converted.

    Raises:
        EvaluationError: The value is not a number.
    """
    if type(value) is int or type(value) is float:
        return value
    if value is True or value == "true":
        return 1
    if value is False or value == "false" or value == "":
        return 0
    if isinstance(value, str) and not _NUMERAL.fullmatch(value):
        raise EvaluationError(f"not a number: {value!r}")
    return tidy(bounded(float(value)))


def truth(value: Value) -> bool:
    """The value as a boolean; only booleans and their spellings are allowed.

    Raises:
        EvaluationError: The value is not a boolean.
    """
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
    if isinstance(value, float) and "e" in repr(value):
        return _with_exponent(repr(value))
    return str(value)


def _with_exponent(spelled: str) -> str:
    mantissa, _, exponent = spelled.partition("e")
    # JavaScript prints smaller numbers in exponent form.
    return f"{Decimal(spelled):f}" if -6 <= int(exponent) < 0 else f"{mantissa}e{int(exponent):+d}"


def tidy(value: float) -> int | float:
    """The number, as an int if it is whole: 4 / 2 prints as 2."""
    return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN else value


def bounded(value: int | float) -> int | float:
    """A result, rounded as in JavaScript.

    Raises:
        EvaluationError: The result is not finite.
    """
    if type(value) is int:
        return value if -_LARGEST_EXACT <= value <= _LARGEST_EXACT else tidy(float(value))
    if not math.isfinite(value):
        raise EvaluationError("the result is too large for a number")
    return value


def stored(value: Value) -> Value:
    """The value as a variable stores it: booleans by their spelling."""
    if value is True:
        return "true"
    if value is False:
        return "false"
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


def capitalise(value: str) -> str:
    """The text with its first letter in upper case."""
    return value[:1].upper() + value[1:]
