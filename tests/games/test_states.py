"""Saved states: whole, and equal exactly where their futures are."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Mapping

import pytest

from pluralign.core import InputError
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
