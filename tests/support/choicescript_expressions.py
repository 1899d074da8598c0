"""A slow second evaluator of ChoiceScript's expressions and texts, by the documented rules.

It reads an expression from left to right and has the value at once. Values are as JavaScript has them: a
number of the source is a text until an operator calculates with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

Value = str | float | bool
TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|\d+(?:\.\d+)?|\w+|%[+-]|[!<>]=|[-+*/&%^#<>=(){}\[\]])',
)
FUNCTIONS = ("not", "round", "length", "log")
WORDS = ("and", "or", "modulo")
LEADING = ("+", "-", "*", "/", "&", "%", "^", "#", "%+", "%-", *WORDS)


class Stop(Exception):
    """An error of the scene."""


def spelled(value: Value) -> str:
    """As JavaScript prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else printed_number(value)


def printed_number(value: float) -> str:
    """JavaScript writes exponents from 1e21 up and from 1e-7 down, and without zeros before them."""
    if value == int(value) and abs(value) < 1e21:
        return np.format_float_positional(value, trim="-").replace("-0", "0", 1 if value == 0 else 0)
    if 1e-6 <= abs(value) < 1e21:
        return np.format_float_positional(value, trim="-")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def number(value: Value) -> float:
    """For an operator: a text counts if it begins with a number."""
    if isinstance(value, bool):
        raise Stop(f"not a number: {value}")
    if isinstance(value, float):
        return value
    found = re.match(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", value)
    if found is None:
        raise Stop(f"not a number: {value}")
    return float(found.group())


def whole(value: Value) -> float | None:
    """For an equality: the whole text must be a number."""
    if isinstance(value, bool | float):
        return float(value)
    if not value.strip():
        return 0.0
    return float(value) if re.fullmatch(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*", value) else None


def truth(value: Value) -> bool:
    """For a condition."""
    if spelled(value) not in ("true", "false") or isinstance(value, float):
        raise Stop(f"neither true nor false: {value}")
    return spelled(value) == "true"


def loosely(a: Value, b: Value) -> bool:
    """JavaScript's ``==``."""
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    left, right = whole(a), whole(b)
    return left is not None and left == right


def fair(percent: float, change: float) -> float:
    """Fairmath: a share of what is left to 100, or of what there is, rounded against the change."""
    if not 0 <= percent <= 100:
        raise Stop("not a percentage")
    if change > 0:
        return float(min(99, math.floor(percent + change * ((100 - percent) / 100))))
    return float(max(1, math.ceil(percent - (0 - change) * (percent / 100))))


def finite(value: float) -> float:
    """A result; JavaScript's infinities are refused."""
    if not math.isfinite(value):
        raise Stop("too large")
    return value


def power(a: float, b: float) -> float:
    """``a ^ b``."""
    try:
        found = a**b
    except (OverflowError, ZeroDivisionError):
        raise Stop("too large") from None
    if isinstance(found, complex):
        raise Stop("not a number")
    return found


def divided(by: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """A division, of which zero is an error."""

    def divide(a: float, b: float) -> float:
        if b == 0:
            raise Stop("division by zero")
        return by(a, b)

    return divide


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: finite(a + b),
    "-": lambda a, b: finite(a - b),
    "*": lambda a, b: finite(a * b),
    "/": divided(lambda a, b: finite(a / b)),
    "%": divided(math.fmod),
    "modulo": divided(math.fmod),
    "^": power,
    "%+": fair,
    "%-": lambda a, b: fair(a, -b),
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def combine(operator: str, a: Value, b: Value) -> Value:
    """The value of two values and an operator."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](number(a), number(b)) + 0.0
    if operator in COMPARISONS:
        return COMPARISONS[operator](number(a), number(b))
    if operator == "=":
        return loosely(a, b) or spelled(a) == spelled(b)
    if operator == "!=":
        return not loosely(a, b)
    if operator == "&":
        return spelled(a) + spelled(b)
    if operator == "#":
        place = number(b)
        if not 1 <= place <= len(spelled(a)):
            raise Stop("no such character")
        return spelled(a)[int(place) - 1]
    if operator == "and":
        return truth(a) and truth(b)
    assert operator == "or", operator
    return truth(a) or truth(b)


class Reader:
    """Reads one expression after the other from a line.

    Args:
        source: The line.
        lookup: Value of a variable by its name.
    """

    def __init__(self, source: str, lookup: Callable[[str], Value]) -> None:
        self.rest, self.lookup = source.strip(), lookup

    def peek(self) -> str:
        """The next token, without its spaces; "" at the end."""
        found = TOKEN.match(self.rest)
        return found.group(1) if found else ""

    def take(self, *wanted: str) -> str:
        """Consume a token, which must be one of these if any are given."""
        found = TOKEN.match(self.rest)
        if found is None or (wanted and found.group(1) not in wanted):
            raise Stop(f"cannot read {self.rest!r}")
        self.rest = self.rest[found.end() :].strip()
        return found.group(1)

    def whole(self, first: Value | None = None) -> Value:
        """One value, or two and an operator, and then the end of the line."""
        found = self.pair("", self.value() if first is None else first)
        if self.rest:
            raise Stop(f"chains need parentheses: {self.rest!r}")
        return found

    def pair(self, closing: str, first: Value) -> Value:
        """One value, or two and an operator, before a closing bracket."""
        if self.peek() == closing:
            return first
        operator = self.take()
        return combine(operator, first, self.value())

    def within(self, closing: str) -> Value:
        """What stands in brackets."""
        found = self.pair(closing, self.value())
        self.take(closing)
        return found

    def value(self) -> Value:
        """A single value."""
        token = self.take()
        if token == "(":
            return self.within(")")
        if token in FUNCTIONS and self.peek() == "(":
            self.take("(")
            return self.call(token, self.within(")"))
        if token.startswith('"'):
            return fill(re.sub(r"\\(.)", r"\1", token[1:-1]), self.lookup)
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return token
        if token in ("true", "false"):
            return token == "true"
        return self.lookup(self.name(token))

    def name(self, token: str) -> str:
        """Name of a variable, which may be computed, after its first token."""
        if token == "{":
            return spelled(self.within("}"))
        if not re.fullmatch(r"[A-Za-z]\w*", token) or token in WORDS:
            raise Stop(f"no variable: {token!r}")
        while self.peek() == "[":
            self.take("[")
            token += "_" + spelled(self.within("]"))
        return token.lower()

    def call(self, function: str, value: Value) -> Value:
        """The value of a function."""
        if function == "not":
            return not truth(value)
        if function == "length":
            return float(len(spelled(value)))
        known = whole(value)
        if known is None or (function == "log" and known <= 0):
            raise Stop(f"not a number: {value}")
        return float(math.floor(known + 0.5)) if function == "round" else math.log(known) / math.log(10)


def fill(line: str, lookup: Callable[[str], Value]) -> str:
    """A text with its ``${}`` and ``@{}`` replaced."""
    found = re.search(r"([$@])(!{0,2})\{", line)
    if found is None:
        return line
    end, depth = found.end(), 1
    while depth:
        if end == len(line):
            raise Stop("a brace is not closed")
        depth += {"{": 1, "}": -1}.get(line[end], 0)
        end += 1
    body = line[found.end() : end - 1]
    shown = spelled(Reader(body, lookup).whole()) if found.group(1) == "$" else chosen(body, lookup)
    if found.group(2):
        shown = shown.upper() if found.group(2) == "!!" else shown[:1].upper() + shown[1:]
    return line[: found.start()] + shown + fill(line[end:], lookup)


def chosen(body: str, lookup: Callable[[str], Value]) -> str:
    """The text that a value selects."""
    reader = Reader(body, lookup)
    value, texts = reader.value(), reader.rest.split("|")
    if isinstance(value, bool) or value in ("true", "false"):
        value = "1" if truth(value) else "2"
    place = number(value)
    if place != int(place) or not 1 <= place <= len(texts):
        raise Stop("no such text")
    return fill(texts[int(place) - 1], lookup)
