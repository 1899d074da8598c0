"""Expressions against values worked out from the official engine's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.games.choicescript.compile.codegen import Functions
from pluralign.games.choicescript.language.expressions import parse, parse_assignment, parse_template
from pluralign.games.choicescript.language.syntax import ExpressionError, Reference, Variable, variables
from pluralign.games.choicescript.language.values import EvaluationError, text

SLOTS: dict[str, Any] = {"a": 4, "half": 0.5, "name": "ann", "yes": "true", "no": "false", "digits": "12"}


def value(source: str) -> Any:
    names = list(SLOTS)
    return Functions(lambda n: f"v[{names.index(n)}]").expression(parse(source))(list(SLOTS.values()))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("2", 2),
        ("2.50", "2.50"),
        ("1+2", 3),
        ("a - 1", 3),
        ("a*half", 2),
        ("7/2", 3.5),
        ("8/2", 4),
        ("7 % 4", 3),
        ("7 modulo 4", 3),
        ("(0-7) % 4", -3),
        ("(a+2)/(1+1)", 3),
        ("2^10", 1024),
        ("2 ^ (0-1)", 0.5),
        ("round(7/2)", 4),
        ("round(0 - 2.5)", -2),
        ("round(2.4)", 2),
        ("log(100)", 2),
        # Math.log(1000)/Math.log(10)
        ("log(1000)", 2.9999999999999996),
        ("length(name)", 3),
        ("length(a * 25)", 3),
        ("(length(name)) + 1", 4),
        ('timestamp("1970-01-02")', 86400),
        ('timestamp("January 2, 1970")', 86400),
        ("digits + 1", 13),
        ('"x" & name', "xann"),
        ("a & a", "44"),
        ('"abc" # 2', "b"),
        ('"say \\"hi\\""', 'say "hi"'),
        ('"${name}!"', "ann!"),
        ("A", 4),
        ("true", "true"),
        ("((a))", 4),
    ],
)
def test_values(source: str, expected: object) -> None:
    found = value(source)
    assert found == expected
    assert text(found) == str(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = 4", True),
        ('a = "4"', True),
        ("a != 4", False),
        ("a < 5", True),
        ("a <= 4", True),
        ("a > 4", False),
        ("a >= 4", True),
        ("digits > 9", True),
        ("yes and no", False),
        ("yes or no", True),
        ("not(no)", True),
        ("not (yes)", False),
        ("yes = true", True),
        ('yes = "true"', True),
        ("(a > 3) and (a < 5)", True),
        ("((a > 9) or (a = 4)) and not(no)", True),
    ],
)
def test_conditions(source: str, expected: bool) -> None:
    names = list(SLOTS)
    condition = Functions(lambda n: f"v[{names.index(n)}]").condition(parse(source))
    assert condition(list(SLOTS.values())) is expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "missing"),
        ("1 +", "missing at the end"),
        ("1 + 2 + 3", "need parentheses"),
        ("(yes) and (no) and (yes)", "need parentheses"),
        ("(1 + 2 + 3)", "need parentheses"),
        ("(1 + 2", "missing at the end"),
        ("not yes", "not(...)"),
        ("a b", "expected an operator"),
        ("= 2", "expected a value"),
        ('"open', "closing quote"),
        ("“a”", "curly quotes"),
        ("{name", "missing at the end"),
        ("list[1", "missing at the end"),
        ("list[]", "expected a value"),
        ("(a]", "expected an operator"),
        ("round a", "expected an operator"),
        ("round(a", "missing at the end"),
        ("auto(50, x)", "auto() is not supported"),
        ("(" * 33 + "a" + ")" * 33, "nested more than 32 deep"),
        ("9" * 400, "too large"),
        ("!yes", "cannot read"),
    ],
)
def test_what_is_no_expression(source: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(source)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a / 0", "division by zero"),
        ("a % 0", "division by zero"),
        ("name + 1", "not a number: 'ann'"),
        ('"nan" + 1', "not a number"),
        ("a and yes", "neither true nor false"),
        ('"abc" # 4', "no character at position 4"),
        ("(0 - 1) %+ 10", "from 0 to 100"),
        ("10 ^ 400", "too large for a number"),
        ("(0-8) ^ 0.5", "is not a number"),
        ("0 ^ (0-1)", "too large for a number"),
        ("log(0)", "above 0"),
        ('timestamp("soon")', "not a date: 'soon'"),
    ],
)
def test_what_cannot_be_evaluated(source: str, said: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value(source)
    assert said in str(caught.value)


@given(st.recursive(st.integers(0, 9), lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner)))
def test_nested_arithmetic_is_pythons(tree: Any) -> None:
    def spell(node: Any) -> str:
        return str(node) if isinstance(node, int) else f"({spell(node[0])} {node[1]} {spell(node[2])})"

    assert value(spell(tree)) == eval(spell(tree))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a +1", 5),
        ("a+1", 5),
        ("a %+ 50", 52),
        ("a 7", 7),
        ("a (a + 1) * 2", 10),
        ('name &"e"', "anne"),
        ("yes and no", False),
        ("a name", "ann"),
    ],
)
def test_assignments(source: str, expected: object) -> None:
    names = list(SLOTS)
    variable, expression = parse_assignment(source)
    assert isinstance(variable, Variable)
    assert variable.name in SLOTS
    found = Functions(lambda n: f"v[{names.index(n)}]").expression(expression)(list(SLOTS.values()))
    assert found == expected


@pytest.mark.parametrize(
    ("source", "variable"),
    [
        ("{name} 3", Reference("", Variable("name"))),
        ("list[a] 3", Reference("list_", Variable("a"))),
        ("List[2] 3", Variable("list_2")),
        ("list[1][2] 3", Variable("list_1_2")),
    ],
)
def test_assignments_by_reference(source: str, variable: object) -> None:
    assert parse_assignment(source)[0] == variable


@pytest.mark.parametrize("source", ["", "a", "3 4", "{name 3", "a = 3 4", '"a" 3'])
def test_what_is_no_assignment(source: str) -> None:
    with pytest.raises(ExpressionError):
        parse_assignment(source)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain", "plain"),
        ("${a} of ${a+1}", "4 of 5"),
        ("$!{name} and $!!{name}", "Ann and ANN"),
        ("@{yes in|out}", "in"),
        ("@{no in|out}", "out"),
        ("@{a one|two|three|four}", "four"),
        ("@{(a > 3) big|small} ${name}", "big ann"),
        ("@{(a-3) ${name}|other}", "ann"),
        ("@!{yes in|out}", "In"),
        ("@{no |s}x", "sx"),
        ("${half} ${8/2} ${yes}", "0.5 4 true"),
        ("a {brace} $5", "a {brace} $5"),
        ("@{no @{yes a|b}|@{no c|d}}", "d"),
        ("@{not(no) in|out}", "in"),
        ("@{not (yes) in|out}", "out"),
        ("@{length(name) one|two|three}", "three"),
        ("@{yes a b|}c", "a bc"),
        ("@!!{yes in|out}", "IN"),
    ],
)
def test_templates(line: str, expected: str) -> None:
    names = list(SLOTS)
    render = Functions(lambda n: f"v[{names.index(n)}]").expression(parse_template(line))
    assert render(list(SLOTS.values())) == expected


@pytest.mark.parametrize(
    "line", ["${a", "${}", "@{a}", "@{a one}", "@{(a > 3 one|two}", "@{(a>3)one|two}", "${a b}"]
)
def test_what_is_no_template(line: str) -> None:
    with pytest.raises(ExpressionError):
        parse_template(line)


@pytest.mark.parametrize("source", ["@{a one|two}", "@{half one|two}", "@{name one|two}", "@{(a-4) one|two}"])
def test_multireplace_outside_its_texts(source: str) -> None:
    names = list(SLOTS)
    render = Functions(lambda n: f"v[{names.index(n)}]").expression(parse_template(source))
    with pytest.raises(EvaluationError):
        render(list(SLOTS.values()))


def test_variables_of_an_expression() -> None:
    assert set(variables(parse('(a + b) > (c & "${d}")'))) == {"a", "b", "c", "d"}
    assert set(variables(parse_template("$!{x} @{(y = 1) ${z}|two}"))) == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("*set a 1 + 2 + 3", "need parentheses"),
        ("*set nothing 1", "unknown variable 'nothing'"),
        ("*if nothing\n  x", "unknown variable 'nothing'"),
        ("${nothing}", "unknown variable 'nothing'"),
        ("*set a name + 1", "not a number"),
        ("*temp t\n${t}", "has no value"),
    ],
)
def test_errors_name_file_and_line(make_game: Callable[..., Any], line: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make_game(f"first\n{line}\n")
    assert said in str(caught.value)
    last = 12 + line.count("\n") if line.startswith("*temp") else 12
    assert (caught.value.path, caught.value.row) == ("test/startup.txt", last)
