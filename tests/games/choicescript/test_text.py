"""What play shows, and what it passes over with a warning, as in the official engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pluralign.cli.games import check_game
from pluralign.core import Decision, InputError
from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame

MakeGame = Callable[..., ChoiceScriptGame]
Shown = Callable[..., str]
HEAD = '*title T\n*create a 0\n*create dash "noon -"\n*create face "😀"\n'


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        # A space follows a line unless it ends with a dash, and nothing but a dash.
        ("at noon - \nthe bridge", "at noon - the bridge"),
        ("at noon -\nthe bridge", "at noon -the bridge"),
        ("at noon \u2014\t\nthe bridge", "at noon \u2014 the bridge"),
        ("at noon \u2014\nthe bridge", "at noon \u2014the bridge"),
        ("at noon \u2010\nthe bridge", "at noon \u2010 the bridge"),
        ("at ${dash}\nthe bridge", "at noon -the bridge"),
        ("at ${dash} \nthe bridge", "at noon - the bridge"),
        ("at @{(a = 0) noon-|one}\nthe bridge", "at noon-the bridge"),
        ("at ${a}-\nthe bridge", "at 0-the bridge"),
        ("at no[c/]\non", "at noon"),
        ("at [b]noon-[/b]\non", "at noon- on"),
        ("*print dash\nthe bridge", "noon -the bridge"),
        # Windows line ends.
        ("at noon -\r\nthe bridge\r\n\r\nis open\r\n", "at noon -the bridge\n\nis open"),
        # What ends a paragraph, and what does not.
        ("one\n*input_text dash\ntwo", "one\n\ntwo"),
        ("one\n*input_number a 1 6\ntwo", "one\n\ntwo"),
        ("one\n*image a.png\ntwo", "one\n\ntwo"),
        ("one\n*share_this_game\ntwo", "one\n\ntwo"),
        ("one\n*page_break\ntwo", "one\n\ntwo"),
        ("one\n*set a 1\n*comment note\n*label x\n*rand a 1 6\n*sound x.mp3\ntwo", "one two"),
        ("one\n*gosub s\ntwo\n*finish\n*label s\nsub\n*return", "one sub two"),
        ("one\n*goto_scene second", "one two"),
        ("one\n*gosub_scene second\nthree\n*ending", "one two three"),
        ("see\n*link https://example.org/ here\nnow", "see here now"),
        ("see\n*link https://example.org/", "see https://example.org/"),
        (
            "*stat_chart\n  text (a + 1) The sum\n  percent (a + 2)\n  text a\nend",
            "The sum: 1\na + 2: 2%\na: 0\n\nend",
        ),
        ("one\n*label\ntwo", "one two"),
        # Half a character cannot be shown.
        ("<${face # 1}>", "<\ufffd>"),
        ("<${(face # 1)&(face # 2)}>", "<😀>"),
    ],
)
def test_lines(shown: Shown, lines: str, text: str) -> None:
    scenes = {"second": "two\n*return" if "gosub_scene" in lines else "two"} if "second" in lines else {}
    assert shown(lines, head=HEAD, **scenes) == text


def test_an_option_without_text_after_a_dash(make_game: MakeGame) -> None:
    game = make_game("*fake_choice\n  #One -\n    first -\n\n  #Two\nlast", head=HEAD)
    assert game.decision is not None
    assert game.decision.options == ("One -", "Two")
    game.choose(0)
    assert game.text == "first -\n\nlast"
    game.reset()
    game.choose(1)
    assert game.text == "last"


@pytest.mark.parametrize("line", ["*stat_chart", "*image", "*text_image", "*link", "*stat_chart\n  text (a"])
def test_what_may_not_be_empty(make_game: MakeGame, line: str) -> None:
    with pytest.raises(InputError, match=r"startup\.txt:[56]: "):
        make_game(f"{line}\nend", head=HEAD)


def test_script_is_passed_over_with_a_warning(
    folder: Callable[..., Path], shown: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "*script alert(1)\na is ${a}\n*choice\n  #One\n    *finish\n"
    path = folder(lines, head=HEAD)
    (problem,) = check_story(path)
    assert (problem.line, problem.kind) == (5, "warning")
    assert (
        problem.message == "warning: *script contains JavaScript, which is not supported: play passes it over"
    )
    _, code = check_game(str(path))
    assert code == 0
    assert f"{path}/startup.txt:5: warning: *script" in capsys.readouterr().out
    assert shown("*script 1\na is ${a}", head=HEAD) == "a is 0"
    with pytest.raises(InputError, match=r"startup\.txt:5: \*script contains JavaScript"):
        shown("*script 1\n*comment pluralign {}", head=HEAD)


def test_what_the_official_engine_warns_of(folder: Callable[..., Path]) -> None:
    lines = "*temp a 1\n*gosub_scene two\n*finish\n*label hub\n${a}\n*choice\n  #One\n    *finish\n"
    found = check_story(folder(lines, head=HEAD, two="*goto_scene startup hub\n"))
    assert [(Path(p.file).name, p.line, p.kind) for p in found] == [
        ("startup.txt", 5, "warning"),
        ("startup.txt", 7, "unreachable"),
        ("two.txt", 1, "warning"),
    ]
    assert "*return first" in found[-1].message
    assert "hides one that *create has made" in found[0].message


def test_a_warning_does_not_refuse_an_annotated_story(make_game: MakeGame) -> None:
    lines = "*temp a 1\n${a}\n*choice\n  #One\n    *comment pluralign {}\n    *finish"
    assert make_game(lines, head=HEAD).text == "1"


def test_a_bug_names_the_values_in_its_message(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match=r"startup\.txt:6: \*bug: a is 3, not nought"):
        make_game("*set a 3\n*bug a is ${a}, not @{(a = 0) zero|nought}", head=HEAD)
    with pytest.raises(InputError, match="unknown variable 'nobody'"):
        make_game("*bug ${nobody}", head=HEAD)


def test_choice_linenum_is_the_line_that_reads_it(make_game: MakeGame) -> None:
    lines = (
        "*set a choice_linenum\n${a} ${choice_linenum} ${choice_scene}\n*choice\n  *if choice_linenum = 8\n"
    )
    game = make_game(lines + "    #One\n      *finish\n  #Two ${choice_linenum}\n    *finish", head=HEAD)
    assert game.decision == Decision("5 6 startup", ("One", "Two 11"))
