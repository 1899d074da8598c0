"""ChoiceScript expressions and the text they stand in, read into trees (`codegen` makes functions of them).

As in the official engine, an expression is one value or two values around one operator; whatever is
longer needs parentheses, and there is no precedence to get wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pluralign.games.choicescript import operators
from pluralign.games.choicescript.operators import Value


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


Expression = Literal | Variable | Binary | Not | Pick | Capital | Template

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<open>\()
    |(?P<close>\))
    |(?P<function>not\s*\()
    |(?P<number>\d+(?:\.\d+)?\b)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<word>\w+)
    |(?P<operator>%[+-]|[!<>]=|[-+*/&%\#<>=])""",
    re.VERBOSE,
)
_NAMED_OPERATORS = ("and", "or", "modulo")
# These may begin a *set's expression; its variable is then the left value.
_LEADING_OPERATORS = ("%+", "%-", "+", "-", "*", "/", "&", "%", "#", *_NAMED_OPERATORS)

Token = tuple[str, str]


def tokenise(source: str) -> list[Token]:
    """Split an expression into (kind, text) pairs.

    Raises:
        ExpressionError: something in it is no token.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise ExpressionError(_unreadable(source[position:]))
        kind, value = str(match.lastgroup), match.group()
        position = match.end()
        if kind == "word" and value in _NAMED_OPERATORS:
            kind = "operator"
        if kind != "space":
            tokens.append((kind, value))
    return tokens


def _unreadable(rest: str) -> str:
    first = rest[0]
    if first in "“”":
        return 'curly quotes cannot stand in an expression; use straight ones (")'
    if first == '"':
        return f"a string has no closing quote: {rest}"
    if first in "{}[]":
        return "references and arrays ({...}, [...]) are not understood"
    return f"cannot read {rest!r}"


class _Reader:
    def __init__(self, tokens: Sequence[Token], source: str) -> None:
        self.tokens = list(tokens)
        self.source = source
        self.position = 0

    def next(self) -> Token:
        if self.position >= len(self.tokens):
            raise ExpressionError(f"something is missing at the end of {self.source.strip()!r}")
        self.position += 1
        return self.tokens[self.position - 1]

    def at_end(self) -> bool:
        return self.position >= len(self.tokens)


def parse(source: str) -> Expression:
    """Read an expression.

    Raises:
        ExpressionError: it is none, or chains operators without parentheses.
    """
    return _parse_tokens(tokenise(source), source)


def parse_assignment(source: str) -> tuple[str, Expression]:
    """Read what follows ``*set``: the variable's name and its new value.

    Raises:
        ExpressionError: it is no assignment.
    """
    tokens = tokenise(source)
    if not tokens or tokens[0][0] != "word":
        raise ExpressionError(f"expected VARIABLE EXPRESSION, found {source.strip()!r}")
    name, rest = tokens[0][1], tokens[1:]
    if not rest:
        raise ExpressionError(f"no value is given for '{name}'")
    if rest[0][0] == "operator" and rest[0][1] in _LEADING_OPERATORS:
        rest = [("word", name), *rest]
    return name.lower(), _parse_tokens(rest, source)


def _parse_tokens(tokens: Sequence[Token], source: str) -> Expression:
    if not tokens:
        raise ExpressionError("an expression is missing")
    reader = _Reader(tokens, source)
    expression = _expression(reader, closing=False)
    if not reader.at_end():
        found = reader.next()[1]
        raise ExpressionError(f"{found!r} is one too many in {source.strip()!r}; chains need parentheses")
    return expression


def _expression(reader: _Reader, *, closing: bool) -> Expression:
    left = _value(reader)
    if reader.at_end() and not closing:
        return left
    kind, found = reader.next()
    if closing and kind == "close":
        return left
    if kind != "operator":
        raise ExpressionError(f"expected an operator, found {found!r} in {reader.source.strip()!r}")
    expression = Binary(found, left, _value(reader))
    if closing:
        kind, found = reader.next()
        if kind != "close":
            raise ExpressionError(
                f"expected ')', found {found!r} in {reader.source.strip()!r}; chains need parentheses"
            )
    return expression


def _value(reader: _Reader) -> Expression:
    kind, found = reader.next()
    match kind:
        case "open":
            return _expression(reader, closing=True)
        case "function":
            return Not(_expression(reader, closing=True))
        case "number":
            return Literal(_literal_number(found))
        case "string":
            return _string(found)
        case "word" if found.lower() in ("true", "false"):
            return Literal(found.lower())
        case "word" if found == "not":
            raise ExpressionError("not needs parentheses: not(...)")
        case "word":
            return Variable(found.lower())
        case _:
            raise ExpressionError(f"expected a value, found {found!r} in {reader.source.strip()!r}")


def _literal_number(spelled: str) -> Value:
    value = operators.tidy(float(spelled))
    # The official engine keeps literals as they are spelled: 2.50 prints as 2.50.
    return value if operators.text(value) == spelled else spelled


def _string(quoted: str) -> Expression:
    template = parse_template(re.sub(r"\\(.)", r"\1", quoted[1:-1]))
    return Literal(template.constant) if template.constant is not None else template


_SUBSTITUTION = re.compile(r"([$@])(!{0,2})\{")


def parse_template(line: str) -> Template:
    """Read text in which ``${value}``, ``$!{value}`` and ``@{value one|two}`` stand.

    Raises:
        ExpressionError: a brace does not close, or what it holds cannot be read.
    """
    parts: list[str | Expression] = []
    position = 0
    while match := _SUBSTITUTION.search(line, position):
        if match.start() > position:
            parts.append(line[position : match.start()])
        end = _closing(line, match.end(), "{", "}")
        if end < 0:
            raise ExpressionError(f"{match.group()} is not closed by a brace")
        body = line[match.end() : end]
        value: Expression = parse(body) if match.group(1) == "$" else _parse_pick(body)
        parts.append(Capital(value, match.group(2) == "!!") if match.group(2) else value)
        position = end + 1
    if position < len(line):
        parts.append(line[position:])
    return Template(tuple(parts))


def _parse_pick(body: str) -> Pick:
    if body.lstrip().startswith("("):
        body = body.lstrip()
        end = _closing(body, 1, "(", ")")
        if end < 0 or body[end + 1 : end + 2] != " ":
            raise ExpressionError("@{(...) one|two} needs its closing parenthesis and a space after it")
        source, texts = body[1:end], body[end + 2 :]
    else:
        source, space, texts = body.partition(" ")
        if not source or not space:
            raise ExpressionError("@{value one|two} needs a value and a space before its texts")
    split = texts.split("|")
    if len(split) < 2:
        raise ExpressionError("@{value one|two} needs two texts or more, parted by |")
    return Pick(parse(source), tuple(parse_template(text) for text in split))


def _closing(line: str, start: int, opening: str, closing: str) -> int:
    depth = 0
    for position in range(start, len(line)):
        if line[position] == opening:
            depth += 1
        elif line[position] == closing:
            if depth == 0:
                return position
            depth -= 1
    return -1


def variables(expression: Expression) -> Iterator[str]:
    """The names of the variables that an expression reads, in lower case."""
    match expression:
        case Literal():
            return
        case Variable(name):
            yield name
        case Binary(_, left, right):
            yield from variables(left)
            yield from variables(right)
        case Not(operand) | Capital(operand, _):
            yield from variables(operand)
        case Pick(value, texts):
            yield from variables(value)
            for text in texts:
                yield from variables(text)
        case Template(parts):
            for part in parts:
                if not isinstance(part, str):
                    yield from variables(part)
