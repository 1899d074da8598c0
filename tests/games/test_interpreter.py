"""How a story plays."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import pytest

from pluralign.core import Decision, InputError
from pluralign.games.choicescript import ChoiceScriptGame

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


def test_a_state_knows_where_to_return_to(make_game: MakeGame) -> None:
    lines = """\
        *choice
          #Here.
            *gosub_scene second
            here
            *ending
          #There.
            *gosub_scene second
            there
            *ending
        """
    game = make_game(lines, second="*choice\n  #x\n    *return")
    states: list[Hashable] = []
    for action in (0, 1):
        game.reset()
        game.choose(action)
        states.append(game.save())
    assert states[0] != states[1]
    for state, expected in zip(states, ("here", "there"), strict=True):
        game.restore(state)
        game.choose(0)
        assert game.text == expected


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
        ("*choice\n  #Of ${a}.\n    *finish\n  #Of ${b}.\n    *finish", 11, "read the same"),
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


@pytest.mark.parametrize(
    ("lines", "row", "said"),
    [
        ("*rand a 1 6", 11, "*rand is not understood"),
        ("x\n*create c 1", 12, "top of startup.txt"),
        ("*goto nowhere", 11, "no label 'nowhere'"),
        ("*goto {name}", 11, "by reference"),
        ("*goto_scene nowhere", 11, "no scene 'nowhere'"),
        ("*label a\n*label A", 12, "stands twice"),
        ("*label two words", 11, "one word"),
        ("*achieve nothing", 11, "no *achievement declares"),
        ("x\n  deeper", 12, "nothing opens a block"),
        ("*if a = 0\n    x\n  y", 13, "no block that is open"),
        ("*if a = 0\n\tx", 12, "use one of them throughout"),
        ("*if a = 0\n \tx", 12, "tabs and spaces"),
        ("*if a = 0\nx", 11, "expected lines indented"),
        ("*else\n  x", 11, "without an *if"),
        ("*choice\nx", 11, "expected options"),
        ("*choice\n  text", 12, "expected an #option"),
        ("*choice\n  *set a 1\n  #x\n    *finish", 12, "expected an #option"),
        ("*choice\n  #\n    *finish", 12, "needs text"),
        ("*choice\n  #x\n  #y\n    *finish", 12, "no lines under it"),
        ("*choice\n  #x\n    *finish\n  #x\n    *finish", 14, "the same text"),
        ("*choice red blue\n  #x\n    *finish", 11, "several groups"),
        ("*choice\n  *if (a = 0) *hide_reuse #x\n    *finish", 12, "*hide_reuse comes before *if"),
        ("#x", 11, "outside of a *choice"),
        ("*comment pluralign {bad", 11, "not JSON"),
        ('x\n*comment pluralign {"violations": ["murder"]}', 12, "must be a list out of"),
        ('x\n*comment pluralign {"virtue": 1}', 12, "unknown"),
        ("*choice\n  *comment pluralign {}\n  #x\n    *finish", 12, "belongs under an #option"),
        ("*set implicit_control_flow true", 11, "unknown variable"),
        ("*selectable_if (a = 0)", 11, "expected *selectable_if"),
        ("*ending now", 11, "expected nothing"),
        ("*hide_reuse this", 11, "expected nothing or an #option"),
        ("*temp and 1", 11, "reserved"),
        ("*temp 1st 1", 11, "a variable's name"),
    ],
)
def test_what_cannot_be_compiled_names_file_and_line(
    make_story: Callable[..., Any], lines: str, row: int, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        make_story(lines)
    assert said in str(caught.value)
    assert (caught.value.path, caught.value.row) == ("test/startup.txt", row)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("*create 1a 0", "a variable's name"),
        ("*create a", "missing"),
        ("*create a 1+1", "begins as a number"),
        ('*create a "${b}"', "begins as a number"),
        ("*create choice_x 1", "reserved"),
        ("*create a 1\n*create A 2", "created twice"),
        ("*achievement x visible 10 Title\n  One.\n  Two.", "lower case"),
        ("*achievement xx seen 10 Title\n  One.\n  Two.", "visible or hidden"),
        ("*achievement xx visible 0 Title\n  One.\n  Two.", "from 1 to 100"),
        ("*achievement xx visible 101 Title\n  One.\n  Two.", "from 1 to 100"),
        ("*achievement xx visible ten Title\n  One.\n  Two.", "from 1 to 100"),
        ("*achievement xx visible 10 Title", "two indented lines"),
        ("*achievement xx hidden 10 Title\n  One.\n  Two.", "hidden achievement"),
        ("*achievement xx", "expected *achievement NAME"),
        ("*scene_list", "expected the scenes' names"),
        ("*scene_list\n  startup\n  startup", "listed twice"),
        ('*comment pluralign {"story": {"plot": "x"}}', "story.plot"),
        ('*comment pluralign {"story": {"summary": 3}}', "story.summary"),
        ('*comment pluralign {"violations": []}', "annotations belong into options"),
        ('*comment pluralign {"story": {"objectives": {"score": {}}}}', "built-in"),
        ('*comment pluralign {"story": {"objectives": {"x": {"description": "d"}}}}', "'coefficients'"),
        (
            '*comment pluralign {"story": {"objectives": {"x": {"description": "d", '
            '"coefficients": {"violations.murder": 1}}}}}',
            "unknown count",
        ),
        (
            '*comment pluralign {"story": {"objectives": {"X": {"description": "d", '
            '"coefficients": {"points": 1}}}}}',
            "lower case",
        ),
    ],
)
def test_what_the_head_cannot_hold(make_story: Callable[..., Any], head: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make_story("x", head=head + "\n")
    assert said in str(caught.value)
    assert caught.value.path == "test/startup.txt"
    assert caught.value.row == (2 if said == "created twice" else 1)


def test_more_points_than_a_story_may_have(make_story: Callable[..., Any]) -> None:
    head = "".join(f"*achievement x{i}x visible 100 T{i}\n  B.\n  A.\n" for i in range(11))
    with pytest.raises(InputError, match=r"startup.txt:31: .*1000 points"):
        make_story("x", head=head)


def test_info_and_own_objectives(make_story: Callable[..., Any]) -> None:
    head = (
        '*title T\n*author A\n*comment pluralign {"story": {"summary": "S", "player_character": "P", '
        '"objectives": {"candour": {"description": "D", "coefficients": {"violations.deception": -2}}}}}\n'
    )
    info = make_story("*choice\n  #a\n    *finish\n  #b\n    *finish", head=head).info
    assert (info.name, info.title, info.author, info.summary, info.player_character) == (
        "test",
        "T",
        "A",
        "S",
        "P",
    )
    assert (info.max_options, info.max_points) == (2, 0.0)
    assert info.objective("candour").reward({"violations.deception": 1.0}) == -2.0
    with pytest.raises(InputError, match="unknown objective 'no'"):
        info.objective("no")


def test_a_saved_state_comes_back_whole(make_game: MakeGame) -> None:
    game, other = make_game(GATE), make_game(GATE)
    run(game, "Knock.")
    saved = game.save()
    decision = game.decision
    expected = run(game, "Go in."), game.text, game.save()
    game.reset()
    for player in (game, other):
        player.restore(saved)
        assert player.decision == decision
        assert player.save() == saved
        assert (run(player, "Go in."), player.text, player.save()) == expected
        assert player.decision is None
    other.restore(expected[2])
    assert (other.decision, other.text) == (None, "You are in.")
    game.restore(pickle.loads(pickle.dumps(saved)))
    assert game.decision == decision


def test_a_state_keeps_subroutines_and_what_waits_for_their_return(make_game: MakeGame) -> None:
    game = make_game(
        "*temp t 5\n*gosub_scene second\nback with ${t}\n*finish",
        second="*temp t 1\n*gosub deep\n*return\n*label deep\n*choice\n  #x\n    ${t}\n    *return",
    )
    saved = game.save()
    game.choose(0)
    assert game.text == "1 back with 5"
    game.reset()
    game.restore(saved)
    game.choose(0)
    assert game.text == "1 back with 5"


def test_a_scene_that_calls_itself_keeps_what_it_reads_after_the_return(make_game: MakeGame) -> None:
    game = make_game(
        """\
        *temp t 5
        *choice
          #x
            *gosub_scene startup deep
            ${t}
            *finish
        *label deep
        *temp t 1
        *return
        """,
        second="",
    )
    saved = game.save()
    game.reset()
    game.restore(saved)
    game.choose(0)
    assert game.text == "5"


@pytest.mark.parametrize(
    ("lines", "equal"),
    [
        # b is never read again, so it cannot tell the states apart.
        ("*set b {}\n*choice\n  #x\n    *finish", True),
        ("*set b {}\n*choice\n  #x\n    ${b}\n    *finish", False),
        # Written before it is read.
        ("*set b {}\n*choice\n  #x\n    *set b 1\n    ${b}\n    *finish", True),
        ("*set b {}\n*choice\n  #x\n    *set b +1\n    ${b}\n    *finish", False),
        # Read through a condition of a later option, and past a subroutine.
        (
            "*set b {}\n*choice\n  #x\n    *choice\n"
            "      *if (b = 1) #y\n        *finish\n      #z\n        *finish",
            False,
        ),
        ("*set b {}\n*choice\n  #x\n    *gosub s\n    *finish\n*label s\n${b}\n*return", False),
        # What the player sees now counts.
        ("shown ${b}\n*choice\n  #x\n    *finish".replace("shown", "*set b {}\nshown"), False),
    ],
)
def test_equal_states_are_those_with_equal_futures(make_game: MakeGame, lines: str, equal: bool) -> None:
    states: list[Hashable] = [make_game(lines.replace("{}", value)).save() for value in "12"]
    assert (states[0] == states[1]) is equal


def test_true_is_not_one_in_a_state(make_game: MakeGame) -> None:
    lines = "*set a {}\n*choice\n  #x\n    ${a}\n    *finish"
    assert make_game(lines.replace("{}", "true")).save() != make_game(lines.replace("{}", "1")).save()


def test_only_saved_states_are_restored(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match="not a saved state"):
        make_game("x").restore("x")


def test_decisions_are_shared(make_game: MakeGame) -> None:
    game = make_game(GATE)
    first = game.decision
    game.reset()
    assert game.decision is first
    game.restore(game.save())
    assert game.decision is first


def test_a_story_survives_pickling(make_story: Callable[..., Any]) -> None:
    story = make_story(GATE)
    again = pickle.loads(pickle.dumps(story))
    assert again.info == story.info
    assert ChoiceScriptGame(again).save() == ChoiceScriptGame(story).save()


def test_bounds_of_a_step(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match="max_lines_per_step"):
        make_game("x", max_lines_per_step=0)
