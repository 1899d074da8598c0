"""How a story plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pluralign.core import Decision, InputError
from pluralign.games.choicescript.run.game import ChoiceScriptGame

MakeGame = Callable[..., ChoiceScriptGame]

GATE = """\
Before.
*label gate
At the gate, ${a}.
*choice
  #Go in.
    *comment pluralign {}
    *achieve first
    You are in.
    *finish
  *hide_reuse #Knock.
    *comment pluralign {"violations": ["trespassing"]}
    *set a +1
    *goto gate
  *if (a > 0) #Shout.
    *comment pluralign {"utility": {"others": -3}}
    *goto out
  *selectable_if (a > 5) #Jump.
    *finish
*label out
Out.
"""


def options(game: ChoiceScriptGame) -> tuple[str, ...]:
    assert game.decision is not None
    return game.decision.options


def run(game: ChoiceScriptGame, *texts: str) -> list[Mapping[str, float]]:
    """Take options by their text."""
    return [game.choose(options(game).index(text)) for text in texts]


def test_a_choice_shows_what_came_since_the_last(make_game: MakeGame) -> None:
    game = make_game(GATE)
    assert game.decision == Decision("Before. At the gate, 0.", ("Go in.", "Knock."))
    run(game, "Knock.")
    assert game.decision == Decision("At the gate, 1.", ("Go in.", "Shout."))
    run(game, "Shout.")
    assert game.decision is None
    assert game.text == "Out."


def test_counts_of_a_step(make_game: MakeGame) -> None:
    game = make_game(GATE)
    knock, enter = run(game, "Knock.", "Go in.")
    assert knock == {"violations.trespassing": 1.0}
    assert enter == {"points": 30.0}
    game.reset()
    assert run(game, "Knock.", "Shout.")[1] == {"power.utility": 1.0, "utility.suffering": 1.0}


def test_counts_belong_to_the_caller(make_game: MakeGame) -> None:
    game = make_game(GATE)
    first = dict(run(game, "Go in.")[0])
    game.reset()
    mine = run(game, "Go in.")[0]
    assert isinstance(mine, dict)
    mine["points"] = 0.0
    game.reset()
    assert run(game, "Go in.")[0] == first


def test_an_achievement_counts_once(make_game: MakeGame) -> None:
    game = make_game(
        "*label top\n*choice\n  #Again.\n    *achieve first\n    *goto top\n  #Stop.\n    *finish\n"
    )
    assert run(game, "Again.", "Again.") == [{"points": 30.0}, {}]


@pytest.mark.parametrize("action", [-1, 2, 100])
def test_no_such_option(make_game: MakeGame, action: int) -> None:
    game = make_game(GATE)
    with pytest.raises(IndexError):
        game.choose(action)
    assert options(game) == ("Go in.", "Knock.")


def test_nothing_can_be_chosen_after_the_end(make_game: MakeGame) -> None:
    game = make_game("The end.")
    with pytest.raises(IndexError):
        game.choose(0)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("One\ntwo.", "One two."),
        ("One\n\ntwo.", "One\n\ntwo."),
        ("One\n\n\n\ntwo.", "One\n\ntwo."),
        ("One\n*line_break\ntwo.", "One\ntwo."),
        ("One\n*page_break Next\ntwo.", "One\n\ntwo."),
        ("One-\ntwo —\nthree", "One-two —three"),
        ("One –\n\ntwo", "One –\n\ntwo"),
        ("[b]One[/b] [i]two[/i]", "One two"),
        ("  \nOne  two\t three", "One two three"),
        ("*comment a note\nOne", "One"),
        ("* not a command", "* not a command"),
        ("One\n*comment note\n\ntwo", "One\n\ntwo"),
        ("${name}\n@{flag |two}\nthree", "ann two three"),
        ("x ${a} y", "x 0 y"),
    ],
)
def test_paragraphs(shown: Callable[..., str], lines: str, expected: str) -> None:
    assert shown(lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("*if a = 0\n  yes\nend", "yes end"),
        ("*if a = 1\n  yes\nend", "end"),
        ("*if a = 1\n  no\n*else\n  yes\nend", "yes end"),
        ("*if a = 1\n  no\n  *finish\n*elseif b = 0\n  yes\n  *finish\n*else\n  no", "yes"),
        ("*if a = 0\n  *if b = 1\n    deep\n  yes\nend", "yes end"),
        ("*set a 3\n*if a = 3\n\n  yes\n\nend", "yes\n\nend"),
        ("*temp t 4\n*set t +1\n${t}", "5"),
        ("*temp a 7\n${a}", "7"),
        ("*temp a 7\n*set a 8\n${a}", "8"),
        ("${a}\n*set a 5\n*temp a 7\n${a}", "0 7"),
        ("*temp t\n*set t a\n${t}", "0"),
        ("*set flag (a = 0)\n${flag}", "true"),
        ("*goto x\nskipped\n*label X\nend", "end"),
        ("*gosub sub\nback\n*finish\n*label sub\nsub\n*return", "sub back"),
        ("*gosub s\n*gosub s\n${a}\n*finish\n*label s\n*set a +1\n*return", "2"),
        ("*goto in\n*if a = 1\n  *label in\n  inside\nend", "inside end"),
        ("one\n*ending\ntwo", "one"),
        ("A: ${A}", "A: 0"),
    ],
)
def test_commands(shown: Callable[..., str], lines: str, expected: str) -> None:
    assert shown(lines) == expected


def test_implicit_control_flow_falls_past_else_and_out_of_options(make_game: MakeGame) -> None:
    head = "*create implicit_control_flow true\n"
    game = make_game(
        "*if true\n  yes\n*else\n  no\nthen\n*choice\n  #One.\n    first\n  #Two.\n    second\nend", head=head
    )
    assert game.decision == Decision("yes then", ("One.", "Two."))
    game.choose(0)
    assert game.text == "first end"


def test_scenes_follow_each_other(shown: Callable[..., str]) -> None:
    assert shown("one\n*finish\nnever", second="two", third="three") == "one\n\ntwo\n\nthree"
    assert shown("*goto_scene third", second="two", third="three") == "three"
    assert shown("*goto_scene third here", second="two", third="no\n*label here\nthree") == "three"
    assert shown("*gosub_scene third\nback\n*ending", third="sub\n*return") == "sub back"


def test_temporaries_end_with_their_scene_and_wait_for_a_subroutine(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match=r"second.txt:4: .*\*temp"):
        make_game(
            "*temp t 1\n*gosub_scene second\n${t} kept\n*goto_scene second start",
            second="*temp t 9\n*return\n*label start\n${t}",
        )


def test_reuse_is_forgotten_when_the_scene_is_left(make_game: MakeGame) -> None:
    hub = "*choice\n  *hide_reuse #Go.\n    *goto_scene second\n  #Stop.\n    *finish"
    game = make_game(hub, second="*goto_scene startup")
    game.choose(0)
    assert options(game) == ("Go.", "Stop.")


def test_reuse_defaults_and_exceptions(make_game: MakeGame) -> None:
    game = make_game(
        """\
        *hide_reuse
        *label top
        *choice
          #One.
            *goto top
          *allow_reuse #Two.
            *goto top
          *disable_reuse #Three.
            *goto top
          *hide_reuse *if (a = 0) #Four.
            *goto top
          *if (a = 1) #Never.
            *goto top
        """
    )
    run(game, "Two.", "Two.", "One.")
    assert options(game) == ("Two.", "Three.", "Four.")
    run(game, "Three.", "Four.")
    assert options(game) == ("Two.",)


def test_conditions_around_options(make_game: MakeGame) -> None:
    lines = """\
        *set a {}
        *choice
          *if a = 0
            #Zero.
              *finish
          *elseif a = 1
            #One.
              *finish
            *if (b = 0) #Both.
              *finish
          *else
            #Many.
              *finish
          #Always.
            *finish
        """
    listed = [options(make_game(lines.replace("{}", value))) for value in "012"]
    assert listed == [("Zero.", "Always."), ("One.", "Both.", "Always."), ("Many.", "Always.")]


def test_a_fake_choice_falls_through(make_game: MakeGame) -> None:
    game = make_game("*fake_choice\n  #One.\n  #Two.\n    said\n\nend")
    game.choose(0)
    assert game.text == "end"
    game.reset()
    game.choose(1)
    assert game.text == "said\n\nend"


def test_a_blank_line_belongs_to_the_option_above_it(make_game: MakeGame) -> None:
    game = make_game("*fake_choice\n  #One.\n    said\n\n  #Two.\n    other\nend")
    game.choose(0)
    assert game.text == "said\n\nend"
    game.reset()
    game.choose(1)
    assert game.text == "other end"


def test_subroutines_across_scenes(shown: Callable[..., str], make_game: MakeGame) -> None:
    nested = "*gosub deep\nmain\n*ending\n*label deep\n*gosub_scene second\ndeep\n*return"
    assert shown(nested, second="second\n*return") == "second deep main"
    # A scene that is left forgets where its subroutines were to return to.
    with pytest.raises(InputError, match=r"second\.txt:1: .*without a \*gosub"):
        make_game("*gosub deep\n*ending\n*label deep\n*goto_scene second", second="*return")


def test_a_choice_inside_an_option(make_game: MakeGame) -> None:
    game = make_game(
        "*choice\n  #Out.\n    *finish\n  #In.\n    deeper\n    *choice\n      #Deep.\n        *finish\nnever"
    )
    game.choose(1)
    assert game.decision == Decision("deeper", ("Deep.",))


@pytest.mark.parametrize(
    ("lines", "row", "said"),
    [
        ("*choice\n  #One.\n    text\n  #Two.\n    *finish", 12, "falls out of this option"),
        ("*choice\n  *if (a = 1) #One.\n    *finish", 11, "no option of this choice"),
        ("*choice\n  *selectable_if (a = 1) #One.\n    *finish", 11, "no option of this choice"),
        ("*label x\ntext\n*goto x", 13, "endless loop"),
        ("text\n*return", 12, "without a *gosub"),
        ("*if a = 0\n  x\n*else\n  y", 13, "falls into *else"),
        ("*choice\n  #Of ${a}.\n    *finish\n  #Of ${b}.\n    *finish", 11, "have the same text"),
        ("x\n*set a (1/0)", 12, "division by zero"),
    ],
)
def test_faults_of_play_name_file_and_line(make_game: MakeGame, lines: str, row: int, said: str) -> None:
    def begin_and_choose() -> None:
        make_game(lines, max_lines_per_step=51).choose(0)

    with pytest.raises(InputError) as caught:
        begin_and_choose()
    assert said in str(caught.value)
    assert (caught.value.path, caught.value.row) == ("test/startup.txt", row)


def test_bounds_of_a_step(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match="max_lines_per_step"):
        make_game("x", max_lines_per_step=0)
