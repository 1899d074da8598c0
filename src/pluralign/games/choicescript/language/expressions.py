"""Parser of ChoiceScript expressions and of text that contains them.

As in the official engine, an expression is one value, or two values and an operator; longer ones need
parentheses, so that there is no operator precedence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pluralign.games.choicescript.language import values
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
    named,
)
from pluralign.games.choicescript.language.tokens import NAMED_OPERATORS, TokenReader, check_depth

# A *set's expression may begin with these; its variable is then the left operand.
_LEADING_OPERATORS = ("%+", "%-", "+", "-", "*", "/", "&", "%", "^", "#", *NAMED_OPERATORS)
# The official engine compares with 50 where it has no records of play.
_AUTOMATIC_THRESHOLD = 50
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def parse(source: str) -> Expression:
    """Parse an expression.

    Raises:
        ExpressionError: It is malformed, or chains operators without parentheses.
    """
    reader = TokenReader(source)
    if reader.at_end():
        raise ExpressionError("an expression is missing")
    return _whole(reader, _value(reader))


def parse_assignment(source: str) -> tuple[Variable | Reference, Expression]:
    """Parse what follows ``*set``: the variable and its new value.

    Raises:
        ExpressionError: It is not an assignment.
    """
    reader = TokenReader(source)
    variable = Literal("") if reader.at_end() else _value(reader)
    if not isinstance(variable, Variable | Reference):
        raise ExpressionError(f"expected VARIABLE EXPRESSION, found {source.strip()!r}")
    if reader.at_end():
        raise ExpressionError(f"no value is given in {source.strip()!r}")
    left = variable if reader.sees(*_LEADING_OPERATORS) else _value(reader)
    return variable, _whole(reader, left)


def parse_assignment_by_name(source: str) -> tuple[Variable | Reference, Expression]:
    """Parse what follows ``*setref``: a value that names the variable, and its new value.

    Raises:
        ExpressionError: It is not an assignment.
    """
    reader = TokenReader(source)
    variable = Literal("") if reader.at_end() else named("", _value(reader))
    if isinstance(variable, Literal) or reader.at_end():
        raise ExpressionError(f"expected *setref NAME VALUE, found {source.strip()!r}")
    left = variable if reader.sees(*_LEADING_OPERATORS) else _value(reader)
    return variable, _whole(reader, left)


def parse_values(source: str) -> tuple[Expression, ...]:
    """Parse a sequence of values, such as the arguments of a subroutine.

    Raises:
        ExpressionError: Something among them is not a value.
    """
    reader = TokenReader(source)
    read: list[Expression] = []
    while not reader.at_end():
        read.append(_value(reader))
    return tuple(read)


def parse_variable(source: str) -> tuple[Variable | Reference, tuple[Expression, ...]]:
    """Parse a variable and the values after it.

    Raises:
        ExpressionError: The first is not a variable, or something after it is not a value.
    """
    read = parse_values(source)
    if not read or not isinstance(read[0], Variable | Reference):
        raise ExpressionError(f"expected a variable, found {source.strip()!r}")
    return read[0], read[1:]


def parse_place(source: str) -> tuple[str | Expression, str]:
    """Parse the name of a label or a scene, or the expression that computes it.

    Returns:
        The name in lower case or the expression, and the rest of the text.

    Raises:
        ExpressionError: A bracket is not closed, or its content is malformed.
    """
    source = source.strip()
    end = _value_end(source) if re.match(r"\{|\w+\[", source) else len(source.split(maxsplit=1)[0])
    first, rest = source[:end], source[end:]
    if rest and not rest[0].isspace():
        raise ExpressionError(f"expected a space before {rest!r}")
    if first.startswith("{"):
        return parse(first[1:-1]), rest
    if "[" not in first:
        return first.lower(), rest
    reference = parse(first)
    if isinstance(reference, Reference):
        return Binary("&", Literal(reference.prefix), reference.ending), rest
    assert isinstance(reference, Variable)
    return reference.name, rest


def _whole(reader: TokenReader, left: Expression) -> Expression:
    expression = _continued(reader, left, closing=None)
    if not reader.at_end():
        found = reader.next()[1]
        raise ExpressionError(f"unexpected {found!r} in {reader.source!r}; chains need parentheses")
    return expression


def _continued(reader: TokenReader, left: Expression, closing: str | None) -> Expression:
    if (closing is None and reader.at_end()) or (closing is not None and reader.sees(closing)):
        return left
    kind, found = reader.next()
    if kind != "operator":
        raise ExpressionError(f"expected an operator, found {found!r} in {reader.source!r}")
    if found in ("<", ">", "<=", ">=") and reader.skip_automatic_threshold():
        return Binary(found, left, Literal(_AUTOMATIC_THRESHOLD))
    return Binary(found, left, _value(reader))


def _enclosed(reader: TokenReader, closing: str) -> Expression:
    expression = _continued(reader, _value(reader), closing)
    reader.expect(closing)
    return expression


def _value(reader: TokenReader) -> Expression:
    kind, found = reader.next()
    match kind:
        case "bracket" if found == "(":
            return _enclosed(reader, ")")
        case "bracket" if found == "{":
            return named("", _enclosed(reader, "}"))
        case "function":
            return _function(found[:-1].strip(), reader)
        case "number":
            return Literal(_literal_number(found))
        case "string":
            return _string(found)
        case "word" if found.lower() in ("true", "false"):
            return Literal(values.Truth(found.lower()))
        case "word" if found == "not":
            raise ExpressionError("not needs parentheses: not(...)")
        case "word":
            return _variable(found, reader)
        case _:
            raise ExpressionError(f"expected a value, found {found!r} in {reader.source!r}")


def _function(name: str, reader: TokenReader) -> Expression:
    if name == "auto":
        raise ExpressionError("auto() is not supported here: it must follow <, >, <= or >=")
    operand = _enclosed(reader, ")")
    return Not(operand) if name == "not" else Call(name, operand)


def _variable(name: str, reader: TokenReader) -> Variable | Reference | Literal:
    ending: Expression | None = None
    while reader.sees("["):
        reader.next()
        index = _enclosed(reader, "]")
        ending = index if ending is None else Binary("&", Binary("&", ending, Literal("_")), index)
    if ending is None:
        return Variable(name.lower())
    if isinstance(ending, Binary) and all(isinstance(v, Literal) for v in _joined(ending)):
        ending = Literal("".join(values.text(v.value) for v in _joined(ending) if isinstance(v, Literal)))
    return named(f"{name}_", ending)


def _joined(ending: Expression) -> list[Expression]:
    if isinstance(ending, Binary) and ending.operator == "&":
        return [*_joined(ending.left), *_joined(ending.right)]
    return [ending]


def _literal_number(spelled: str) -> values.Value:
    value = values.literal(spelled)
    if value is None:
        raise ExpressionError(f"number too large: {spelled[:20]}...")
    return value


def _string(quoted: str) -> Expression:
    template = parse_template(re.sub(r"\\(.)", r"\1", quoted[1:-1]))
    return Literal(template.constant) if template.constant is not None else template


_SUBSTITUTION = re.compile(r"([$@])(!{0,2})\{")


def parse_template(line: str) -> Template:
    """Parse text that may contain ``${value}``, ``$!{value}`` and ``@{value one|two}``.

    Raises:
        ExpressionError: A brace is not closed, or its content is malformed.
    """
    parts: list[str | Expression] = []
    position = 0
    while match := _SUBSTITUTION.search(line, position):
        if match.start() > position:
            parts.append(line[position : match.start()])
        end = _closing(line, match.end() - 1)
        if end < 0:
            raise ExpressionError(f"{match.group()} is not closed by a brace")
        body = line[match.end() : end]
        check_depth(body)
        value: Expression = parse(body) if match.group(1) == "$" else _parse_pick(body)
        parts.append(Capital(value, match.group(2) == "!!") if match.group(2) else value)
        position = end + 1
    if position < len(line):
        parts.append(line[position:])
    return Template(tuple(parts))


def _parse_pick(body: str) -> Pick:
    body = body.lstrip()
    first, space, rest = body.partition(" ")
    if space and not first.startswith("("):
        # The official engine reads everything up to the first space, such as a>3.
        try:
            return Pick(parse(first), _texts(rest))
        except ExpressionError:
            pass
    end = _value_end(body)
    if body.startswith("(") and body[end : end + 1] != " ":
        raise ExpressionError("@{(...) one|two} needs its closing parenthesis and a space after it")
    if not end or body[end : end + 1] != " ":
        raise ExpressionError("@{value one|two} needs a value and a space before its texts")
    return Pick(parse(body[:end]), _texts(body[end + 1 :]))


def _texts(source: str) -> tuple[Template, ...]:
    texts = _split(source)
    if len(texts) < 2:
        raise ExpressionError("@{value one|two} needs two or more texts, separated by |")
    return tuple(parse_template(text) for text in texts)


def _split(texts: str) -> Sequence[str]:
    """The texts between the bars outside of braces."""
    pieces, depth, start = list[str](), 0, 0
    for position, letter in enumerate(texts):
        if letter == "|" and depth == 0:
            pieces.append(texts[start:position])
            start = position + 1
        depth += (letter == "{") - (letter == "}")
    return [*pieces, texts[start:]]


def _value_end(source: str) -> int:
    """End of the first value of a text: a word, a string or brackets, with the brackets right after it."""
    opening = re.match(r'"(?:[^"\\]|\\.)*"|\d+\.\d+|(?:not|round|log|length)\s*(?=\()|\w*', source)
    end = opening.end() if opening else 0
    while end < len(source) and source[end] in _PAIRS:
        closing = _closing(source, end)
        if closing < 0:
            raise ExpressionError(f"'{source[end]}' is not closed in {source!r}; closing parenthesis missing")
        end = closing + 1
    return end


def _closing(line: str, start: int) -> int:
    """Position of the bracket that closes the one at ``start``; -1 if there is none."""
    opening, closing = line[start], _PAIRS[line[start]]
    depth = 0
    for position in range(start, len(line)):
        depth += (line[position] == opening) - (line[position] == closing)
        if depth == 0:
            return position
    return -1
