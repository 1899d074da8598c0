"""Variables that are deleted, reset, handed over and brought back, as in the official engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.run.game import ChoiceScriptGame

MakeGame = Callable[..., ChoiceScriptGame]
Shown = Callable[..., str]
HEAD = "*title T\n*create a 0\n*create b 0\n*create_array x 3 1\n"
EXCLUDED = HEAD + '*create checkpoint_exclusions "B t"\n'


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("*temp a 5\n*delete a\n${a}", "0"),
        ("*goto x\n*temp a 5\n*label x\n*delete a\n*temp a 6\n${a}", "6"),
        ("*temp_array x 2 7\n*delete_array x\n${x[1]} ${x_count}", "1 3"),
        ("*set x_count 1\n*delete_array x\n${x[2]}", "1"),
        ("*set a 3\n*reset\n${a}", "0"),
        (
            "*gosub s 1 2\n*finish\n*label s\n*params p\n*params\n${p} ${param_count} ${param_1}\n*return",
            "1 0 1",
        ),
    ],
)
def test_commands(shown: Shown, lines: str, text: str) -> None:
    assert shown(lines, head=HEAD) == text


@pytest.mark.parametrize(
    "lines",
    [
        "*delete a\n*delete a",
        "*delete a\n*set a 1",
        "*delete a\n*set a +1",
        "*delete a\n${a}",
        "*temp a 5\n*delete a\n*delete a\n${a}",
        "*delete_array x\n*delete_array x",
        "*delete_array x\n${x[1]}",
        "*params",
        "*gosub s 1\n*finish\n*label s\n*params p\n*params q\n*return",
        "*gosub s\n*finish\n*label s\n*gosub_scene two\n*return",
        "*restore_checkpoint",
        "*save_checkpoint one\n*restore_checkpoint two\n*save_checkpoint two",
        "*save_checkpoint one\n*reset\n*restore_checkpoint one",
        "${choice_just_restored_checkpoint}\n*save_checkpoint",
        "*save_checkpoint a b",
    ],
)
def test_what_stops_play(make_game: MakeGame, lines: str) -> None:
    with pytest.raises(InputError, match=r"(startup|two)\.txt:"):
        make_game(lines, head=HEAD, two="*reset\n*return")


def test_values_of_a_caller_outlast_the_call_of_another_scene(shown: Shown) -> None:
    lines = "*gosub s 5\n*ending\n*label s\n*gosub_scene two x 7 8\n*params p\n${p} ${param_count}\n*return"
    two = "*label x\n*params q r\n${q}${r}\n*return"
    assert shown(lines, head=HEAD, two=two) == "78 5 1"


def test_arrays_need_values_in_the_head(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match=r"startup\.txt:1: expected a value for the elements"):
        make_game("x", head="*create_array x 3\n")


ROUNDS = """\
*temp t 0
*temp u 0
*save_checkpoint {name}
${{a}} ${{b}} ${{t}} ${{u}} ${{choice_just_restored_checkpoint}}
*choice
  #Back
    *set a +1
    *set b +1
    *set t +1
    *set u +1
    *restore_checkpoint {name}
  #End
    *finish
"""


@pytest.mark.parametrize("name", ["", "one"])
@pytest.mark.parametrize(("head", "after"), [(HEAD, "0 0 0 0 true"), (EXCLUDED, "0 1 1 0 true")])
def test_checkpoints_leave_the_excluded_variables(
    make_game: MakeGame, head: str, after: str, name: str
) -> None:
    game = make_game(ROUNDS.format(name=name), head=head)
    assert game.text == "0 0 0 0 false"
    game.choose(0)
    assert game.text == after
    saved = game.save()
    game.choose(0)
    later = game.text, game.save()
    game.restore(saved)
    game.choose(0)
    assert (game.text, game.save()) == later


def test_an_excluded_temporary_comes_from_the_scene_that_restores(make_game: MakeGame) -> None:
    two = "*temp t 7\n*temp u 7\n*choice\n  #Back\n    *restore_checkpoint"
    lines = "*temp t 1\n*temp u 1\n*save_checkpoint\n${t} ${u}\n*goto_scene two"
    game = make_game(lines, head=EXCLUDED, two=two)
    game.choose(0)
    assert game.text == "7 1"


def test_a_checkpoint_is_forgotten_by_the_return_to_an_earlier_one(make_game: MakeGame) -> None:
    lines = """\
        *save_checkpoint one
        @{choice_saved_checkpoint_one yes|no} @{choice_saved_checkpoint_two yes|no}
        @{choice_saved_checkpoint yes|no}
        *choice
          #Go on
            *save_checkpoint two
            @{choice_saved_checkpoint_two yes|no}
            *choice
              #One
                *restore_checkpoint one
          #Two
            *restore_checkpoint two
        """
    game = make_game(lines, head=HEAD)
    assert game.text == "yes no no"
    game.choose(0)
    assert game.text == "yes"
    game.choose(0)
    assert game.text == "yes no no"
    with pytest.raises(InputError, match="there is no checkpoint to restore"):
        game.choose(1)


def test_a_checkpoint_drops_the_paragraph_begun_before_its_return(make_game: MakeGame) -> None:
    lines = "*save_checkpoint\nhere\n*choice\n  #Back\n    whole\n\n    begun\n    *restore_checkpoint"
    game = make_game(lines, head=HEAD)
    game.choose(0)
    assert game.text == "whole\n\nhere"
