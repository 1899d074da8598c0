"""Numbers, truth values and texts, as the official engine calculates, compares and prints them."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.language.values import Value, is_whole, truthy
from pluralign.games.choicescript.run.game import ChoiceScriptGame

HEAD = (
    "*title T\n*create n 5\n*create sum 0\n*create dec 5.0\n*create yes true\n*create no false\n"
    '*create said "true"\n*create s "ann"\n*create empty ""\n*create apples "5 apples"\n*create face "😀b"\n'
    "*set sum 2+3\n"
)


def play(lines: str) -> str:
    game = ChoiceScriptGame(compile_story("t", {"startup": HEAD + lines}, "t"))
    assert game.decision is None
    return game.text


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        # A number of the source is a text: 5.0 differs from 5, but not from the number 2 + 3.
        ("5.0 = 5", "false"),
        ("dec = n", "false"),
        ("dec = sum", "true"),
        ("sum = n", "true"),
        ("sum = 5.0", "true"),
        ("(dec + 0) = n", "true"),
        ('sum = "5.0"', "true"),
        ('n = "5.0"', "false"),
        ('sum = " 5 "', "true"),
        ('(2+14) = "0x10"', "true"),
        ('n = "5"', "true"),
        ("2.50 = 2.5", "false"),
        ("(5/2) = 2.50", "true"),
        # The number 0 equals an empty text, a 0 of the source does not.
        ('(n-n) = ""', "true"),
        ('0 = ""', "false"),
        ('0 != ""', "true"),
        ('false = ""', "true"),
        # Truth values are 1 and 0 in an equality, and quoted ones are texts.
        ("yes = 1", "true"),
        ("yes = (sum - 4)", "true"),
        ('yes = "1.0"', "true"),
        ("no = 0", "true"),
        ("yes = 2", "false"),
        ('yes = "true"', "true"),
        ('yes != "true"', "true"),
        ("said = 1", "false"),
        ("yes = yes", "true"),
        ("yes != no", "true"),
        ("(n > 4) = yes", "true"),
        ("(n > 4) = said", "true"),
        ("sum != 5.0", "false"),
        ("n != 5.0", "true"),
        ('s = "ann"', "true"),
        ('s != "Ann"', "true"),
        # A text that begins with a number is one.
        ("apples + 1", "6"),
        ("apples > 4", "true"),
        ("apples = 5", "false"),
        ('"1e2" + 0', "100"),
        ('"0x10" + 0', "0"),
        ('" .5" + 0', "0.5"),
        ("round(yes)", "1"),
        ("round(empty)", "0"),
        ('round("0x10")', "16"),
        ("log(1000)", "2.9999999999999996"),
        ("log(yes)", "0"),
        # Whole results are whole, whatever they came from.
        ("(1/2) * 12", "6"),
        ("0.5 + 0.5", "1"),
        ("2 ^ 60", "1152921504606847000"),
        ("(2 ^ 53) + 2", "9007199254740994"),
        ("(10 ^ 21) / 10", "100000000000000000000"),
        ("10 ^ 21", "1e+21"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("1 / 3", "0.3333333333333333"),
        ("007", "007"),
        ("007 + 0", "7"),
        # The position of a character is rounded down.
        ('"abc" # 1.5', "a"),
        ('"abc" # 2.5', "b"),
        # An emoji counts as two characters, which may be taken apart and put together.
        ("length(face)", "3"),
        ("face # 3", "b"),
        ("(face # 1) & (face # 2)", "😀"),
        ("length((face # 1))", "1"),
        # Nothing sets the threshold of auto(), which is then 50.
        ("n < auto(70, brave)", "true"),
        ("n > auto(70, 3)", "false"),
        # Both sides of a condition are evaluated, but only the first need be a truth value if it decides.
        ("no and 5", "false"),
        ("yes or s", "true"),
    ],
)
def test_expressions(expression: str, printed: str) -> None:
    assert play(f"${{{expression}}}") == printed


@pytest.mark.parametrize(
    "expression",
    [
        "yes + 1",
        "yes > 0",
        "said + 0",
        "empty + 1",
        "empty < 1",
        "no %+ 10",
        'round("5 apples")',
        "yes and 5",
        '"True" and yes',
        "not(n)",
        "no and (1/0)",
        "yes or (nobody = 1)",
        '"Infinity" + 1',
        "n + auto(70, brave)",
        "n < auto(brave)",
        '"abc" # 0.5',
        "{dec}",
    ],
)
def test_what_the_official_engine_refuses_too(expression: str) -> None:
    with pytest.raises(InputError, match=r"startup\.txt:13: "):
        play(f"${{{expression}}}")


@pytest.mark.parametrize(
    ("lines", "printed"),
    [
        # The name of a constant is the constant.
        ("@{({said}) yes|no}", "yes"),
        ("${{n}}", "5"),
        ("${{sum}}", "5"),
        ('${{"true"}}', "true"),
        ("${{yes}}", "true"),
        ('${{"2.5"} + 1}', "3.5"),
        ('*temp x "-3"\n${{x} + 1}', "-2"),
        ('*temp x "FALSE"\n@{{x} yes|no}', "no"),
        # *setref takes an expression, as *set does.
        ('*setref "n" +5\n${n}', "10"),
        ('*temp w "n"\n*setref w %+ 50\n${n}', "52"),
        ('*temp w "s"\n*setref w &"e"\n${s}', "anne"),
        ('*temp w "yes"\n*setref w and no\n${yes}', "false"),
        ('*temp w "n"\n*setref w(2)\n${n}', "2"),
        ('*temp w "N"\n*setref w 2*3\n${n}', "6"),
        ('*temp w "n"\n*set {w} (7)\n${n}', "7"),
        # Operators inside of ${} and @{}.
        ("${n+1} ${n > 4} ${s&s} ${not(yes)}", "6 true annann false"),
        ("@{n>4 big|small} @{n=5 five|other} @{n-3 one|two} @{n%+1 a|b|c|d|e|f}", "big five two e"),
        ("@{(n > 4) big|small} @{({n}-4) one|two}", "big one"),
        ("@{apples one|two|three|four|five}", "five"),
        ("@{said in|out} @{yes in|out} @{no in|out}", "in in out"),
        # Upper case.
        ("$!{s} $!!{s} $!{face}", "Ann ANN 😀b"),
        ('*temp d "𐐨𐐨"\n$!{d} $!!{d}', "𐐨𐐨 𐐀𐐀"),
        ('*temp d "straße"\n$!!{d}', "STRASSE"),
        ("${face # 1}.", "\ufffd."),
    ],
)
def test_lines(lines: str, printed: str) -> None:
    assert play(lines) == printed


@pytest.mark.parametrize(
    "lines",
    ['*set {"true"} 1', '*setref "nobody" 1', "*setref s", '@{"True" in|out}', "@{(n/2) one|two|three}"],
)
def test_what_references_may_not_name(lines: str) -> None:
    with pytest.raises(InputError, match=r"startup\.txt:13: "):
        play(lines)


DRAWS = [
    ("1 6", True),
    ("1.0 6.0", False),
    ("1 6.0", False),
    ("1 most", True),
    ("1 dec", False),
    ('"1" "6"', True),
    ('" 1" 6', False),
    ("(3/2) 6", False),
    ("(2*0.5) (12/2)", True),
    ("no yes", False),
    ("007 9", False),
]


@pytest.mark.parametrize(("bounds", "whole"), DRAWS)
def test_a_draw_is_whole_where_both_bounds_are(bounds: str, whole: bool) -> None:
    lines = f"{HEAD}*temp x\n*temp most ((1/2) * 12)\n*rand x {bounds}\n${{x}}"
    game = ChoiceScriptGame(compile_story("t", {"startup": lines}, "t"))
    drawn: set[str] = set()
    for seed in range(20):
        game.reset(seed)
        drawn.add(game.text)
    assert all(("." not in text) is whole for text in drawn)
    assert len(drawn) > 2


@pytest.mark.parametrize(
    ("bounds", "printed"),
    [("5 5", "5"), ("5.0 5.0", "5.0"), ("yes yes", "true"), ("empty 0", "")],
)
def test_a_draw_between_equal_bounds_is_the_bound(bounds: str, printed: str) -> None:
    assert play(f"*temp x\n*rand x {bounds}\n${{x}}") == printed


@pytest.mark.parametrize(("bounds", "whole"), DRAWS[:-2])
def test_an_answer_is_whole_where_both_bounds_are(bounds: str, whole: bool) -> None:
    lines = f"{HEAD}*temp x\n*temp most ((1/2) * 12)\n*input_number x {bounds}\n${{x}}"
    story = compile_story("t", {"startup": lines}, "t")
    assert ChoiceScriptGame(story, ask=lambda question: 3).text == "3"
    if whole:
        with pytest.raises(InputError, match="needs a whole number"):
            ChoiceScriptGame(story, ask=lambda question: 2.5)
    else:
        assert ChoiceScriptGame(story, ask=lambda question: 2.5).text == "2.5"


@pytest.mark.parametrize(
    "command", ["*rand n s 6", "*rand n 6 1", "*input_number n s 6", '*rand n "5 apples" 9']
)
def test_bounds_that_are_none(command: str) -> None:
    with pytest.raises(InputError, match=r"startup\.txt:13: "):
        play(command)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        ("1.0", False),
        (" 1", False),
        ("-2", True),
        ("x", False),
        ("", False),
        (2.5, False),
        (7, True),
    ],
)
def test_whole_bounds(value: Value, expected: bool) -> None:
    assert is_whole(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("false", True), (0, False), (2.5, True), (False, False)]
)
def test_what_javascript_takes_for_true(value: Value, expected: bool) -> None:
    assert truthy(value) is expected


def test_an_answer_is_trimmed() -> None:
    story = compile_story("t", {"startup": "*temp x\n*input_text x\n<${x}>"}, "t")
    assert ChoiceScriptGame(story, ask=lambda question: "  Bo \n Li  ").text == "<Bo\nLi>"


def test_literals_and_equal_numbers_are_one_state(make_game: Callable[..., ChoiceScriptGame]) -> None:
    lines = "*set a {}\n*choice\n  #x\n    ${a}\n    *finish"
    states: list[Hashable] = [make_game(lines.replace("{}", value)).save() for value in ("2", "1+1", "(4/2)")]
    assert len(set(states)) == 1
