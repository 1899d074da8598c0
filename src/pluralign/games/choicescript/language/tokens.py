"""Tokeniser of expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pluralign.games.choicescript.language.syntax import ExpressionError

DEEPEST = 32
"""Maximum nesting of brackets; Python's own compiler allows a few hundred."""

NAMED_OPERATORS = ("and", "or", "modulo")

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<function>(?:not|round|log|length|timestamp|auto)\s*\()
    |(?P<bracket>[()\[\]{}])
    |(?P<number>\d+(?:\.\d+)?\b)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<word>\w+)
    |(?P<comma>,)
    |(?P<operator>%[+-]|[!<>]=|[-+*/&%^\#<>=])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)

Token = tuple[str, str]


def tokenise(source: str) -> list[Token]:
    """Split an expression into (kind, text) pairs.

    Raises:
        ExpressionError: Something in it is not a token.
    """
    check_depth(source)
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise ExpressionError(_unreadable(source[position:]))
        kind, value = str(match.lastgroup), match.group()
        position = match.end()
        if kind == "word" and value in NAMED_OPERATORS:
            kind = "operator"
        if kind != "space":
            tokens.append((kind, value))
    return tokens


def check_depth(source: str) -> None:
    """Check that brackets are nested at most `DEEPEST` deep.

    Raises:
        ExpressionError: They are nested more deeply.
    """
    depth = 0
    for letter in source:
        if letter in "([{":
            depth += 1
            if depth > DEEPEST:
                raise ExpressionError(f"brackets are nested more than {DEEPEST} deep")
        elif letter in ")]}" and depth:
            depth -= 1


def _unreadable(rest: str) -> str:
    first = rest[0]
    if first in "“”":
        return 'curly quotes are not allowed in an expression; use straight ones (")'
    if first == '"':
        return f"a string has no closing quote: {rest}"
    return f"cannot read {rest!r}"


class TokenReader:
    """A cursor over the tokens of an expression."""

    def __init__(self, source: str) -> None:
        self.source = source.strip()
        self._tokens: Sequence[Token] = tokenise(source)
        self._position = 0

    def next(self) -> Token:
        """The next token.

        Raises:
            ExpressionError: There is none.
        """
        if self.at_end():
            raise ExpressionError(f"something is missing at the end of {self.source!r}")
        self._position += 1
        return self._tokens[self._position - 1]

    def sees(self, *texts: str) -> bool:
        """Whether the next token is one of these texts."""
        return not self.at_end() and self._tokens[self._position][1] in texts

    def skip_automatic_threshold(self) -> bool:
        """Consume ``auto(PERCENTAGE, NAME)``; False if something else follows.

        Raises:
            ExpressionError: Its arguments are malformed.
        """
        if self.at_end() or not self._tokens[self._position][1].startswith("auto"):
            return False
        if self._tokens[self._position][0] != "function":
            return False
        kinds = [kind for kind, _ in self._tokens[self._position + 1 : self._position + 5]]
        if kinds not in (["number", "comma", last, "bracket"] for last in ("word", "number")):
            raise ExpressionError(f"expected auto(PERCENTAGE, NAME) in {self.source!r}")
        self._position += 4
        self.expect(")")
        return True

    def expect(self, closing: str) -> None:
        """Consume a closing bracket.

        Raises:
            ExpressionError: The next token is another.
        """
        found = self.next()[1]
        if found != closing:
            raise ExpressionError(
                f"expected '{closing}', found {found!r} in {self.source!r}; chains need parentheses"
            )

    def at_end(self) -> bool:
        """Whether all tokens are consumed."""
        return self._position >= len(self._tokens)
