"""Expressions against a second evaluator, which knows nothing of the first: trees, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame


@dataclass(frozen=True)
class Tree:
    """An expression as it is spelled, with its value; None where it has none.

    Args:
        single: whether it stands without parentheses beside an operator.
    """

    spelled: str
    value: Any
    single: bool = True

    def operand(self) -> str:
        """Spelled as one of an operator's values."""
        return self.spelled if self.single else f"({self.spelled})"


NUMBERS = {"n": 4.0, "half": 0.5, "arr_1": 7.0, "arr_2": 60.0, "digits": 12.0}
STRINGS = {"s": "ann", "empty": "", "name": "n"}
BOOLEANS = {"yes": True, "no": False}
HEAD = (
    "".join(f"*create {name} {value:g}\n" for name, value in NUMBERS.items())
    + "".join(f'*create {name} "{value}"\n' for name, value in STRINGS.items())
    + "*create yes true\n*create no false\n"
)


def printed(value: float | str | bool) -> str:
    """As JavaScript prints it, for the sizes met here."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if value == int(value):
        return str(int(value))
    # JavaScript writes exponents from 1e-7 down, Python from 1e-5.
    return np.format_float_positional(value, trim="-") if 1e-6 <= abs(value) < 1e-4 else repr(value)


def fair(percent: float, change: float) -> float | None:
    """Fairmath as the documentation has it: the share of what is left, rounded against the change."""
    if not 0 <= percent <= 100:
        return None
    if change > 0:
        return float(min(99, math.floor(percent + change * ((100 - percent) / 100))))
    return float(max(1, math.ceil(percent - (0 - change) * (percent / 100))))


NUMERIC: dict[str, Callable[[float, float], float | None]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
    "modulo": lambda a, b: math.fmod(a, b) if b else None,
    "%": lambda a, b: math.fmod(a, b) if b else None,
    "%+": fair,
    "%-": lambda a, b: fair(a, -b),
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
FUNCTIONS: dict[str, Callable[[float], float]] = {"round": lambda a: float(math.floor(a + 0.5))}

spaces = st.sampled_from(["", " ", "  "])
numbers = st.one_of(
    st.integers(0, 100).map(lambda n: Tree(str(n), float(n))),
    st.sampled_from(list(NUMBERS.items())).map(lambda item: Tree(*item)),
    st.just(Tree('{"half"}', 0.5)),
    st.just(Tree("{name}", 4.0)),
    st.just(Tree("arr[(n - 2)]", 60.0)),
    st.just(Tree("arr[1]", 7.0)),
)
strings = st.one_of(
    st.sampled_from(list(STRINGS.items())).map(lambda item: Tree(*item)),
    st.sampled_from(["x", "two words", ""]).map(lambda text: Tree(f'"{text}"', text)),
    st.just(Tree('"<${s}>"', "<ann>")),
)
booleans = st.sampled_from([*BOOLEANS.items(), ("true", True), ("false", False)]).map(
    lambda item: Tree(*item)
)


def both(operator: str, left: Tree, right: Tree, gap: str, value: Any) -> Tree:
    known = left.value is not None and right.value is not None
    # A word needs room around it, and so does a number before a comparison of texts.
    room = gap or (" " if operator.isalpha() else "")
    return Tree(f"{left.operand()}{room}{operator}{room}{right.operand()}", value() if known else None, False)


@st.composite
def number_trees(draw: st.DrawFn, inner: st.SearchStrategy[Tree]) -> Tree:
    if draw(st.integers(0, 4)) == 0:
        name, operand = draw(st.sampled_from(["round", "length"])), draw(inner)
        if operand.value is None:
            value = None
        elif name == "length":
            value = float(len(printed(operand.value)))
        else:
            value = FUNCTIONS[name](float(operand.value))
        return Tree(f"{name}({operand.spelled})", value)
    operator, left, right = draw(st.sampled_from(list(NUMERIC))), draw(inner), draw(inner)
    return both(
        operator, left, right, draw(spaces), lambda: NUMERIC[operator](float(left.value), float(right.value))
    )


arithmetic = st.recursive(numbers, number_trees, max_leaves=8)


@st.composite
def comparisons(draw: st.DrawFn) -> Tree:
    operator, left, right = draw(st.sampled_from(list(COMPARISONS))), draw(arithmetic), draw(arithmetic)
    return both(
        operator,
        left,
        right,
        draw(spaces),
        lambda: COMPARISONS[operator](float(left.value), float(right.value)),
    )


@st.composite
def boolean_trees(draw: st.DrawFn, inner: st.SearchStrategy[Tree]) -> Tree:
    word, left = draw(st.sampled_from(["and", "or", "not"])), draw(inner)
    if word == "not":
        return Tree(f"not({left.spelled})", None if left.value is None else not left.value)
    right = draw(inner)
    gap = draw(spaces)
    spelled = both(word, left, right, gap, lambda: None).spelled
    # Both sides are evaluated, even if one decides the condition.
    if left.value is None or right.value is None:
        return Tree(spelled, None, False)
    if left.value == (word == "or"):
        return Tree(spelled, left.value, False)
    return Tree(spelled, right.value, False)


conditions = st.recursive(st.one_of(booleans, comparisons()), boolean_trees, max_leaves=6)


@st.composite
def string_trees(draw: st.DrawFn, inner: st.SearchStrategy[Tree]) -> Tree:
    left, right = draw(inner), draw(st.one_of(inner, arithmetic))
    return both("&", left, right, draw(spaces), lambda: printed(left.value) + printed(right.value))


texts = st.recursive(strings, string_trees, max_leaves=5)


def evaluate(spelled: str) -> str | None:
    """What a story prints for an expression; None where play ends with an error."""
    try:
        game = ChoiceScriptGame(compile_story("t", {"startup": HEAD + f"*set s {spelled}\n<${{s}}>"}, "t"))
    except InputError:
        return None
    return game.text[1:-1]


@settings(max_examples=400)
@given(st.one_of(arithmetic, conditions, texts))
def test_every_expression_means_what_the_reference_says(tree: Tree) -> None:
    spelled = tree.spelled if tree.single or not tree.spelled.startswith("{") else f"({tree.spelled})"
    found = evaluate(spelled)
    if tree.value is None:
        assert found is None
    else:
        # The page joins spaces, and so do both sides here.
        assert found is not None
        assert found.split() == printed(tree.value).split()


@given(st.lists(numbers, min_size=3, max_size=3), st.sampled_from(["+", "and", "&", "="]))
def test_chains_without_parentheses_are_refused(operands: list[Tree], operator: str) -> None:
    spelled = f" {operator} ".join(operand.spelled for operand in operands)
    assert evaluate(spelled) is None


@given(st.integers(0, 100), st.sampled_from(["%+", "%-", "+", "-", "*"]), arithmetic)
def test_set_begins_with_the_variable_where_an_operator_does(start: int, operator: str, change: Tree) -> None:
    lines = f"*set n {start}\n*set n {operator}{change.operand()}\n${{n}}"
    expected = None if change.value is None else NUMERIC[operator](float(start), float(change.value))
    if "n" in change.spelled:
        return
    try:
        game = ChoiceScriptGame(compile_story("t", {"startup": HEAD + lines}, "t"))
    except InputError:
        assert expected is None
        return
    assert expected is not None
    assert game.text == printed(expected)
