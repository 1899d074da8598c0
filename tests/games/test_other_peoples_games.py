"""Games without annotations: they load whatever is wrong in them, and say so where play comes to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory
from pluralign.games.exact_front import exact_front
from pluralign.games.harms import SCORE

MakeGame = Callable[..., ChoiceScriptGame]
HEAD = "*title A game\n*author Somebody\n*create a 0\n"

WRONG = [
    "*shout",
    "*goto nowhere",
    "*goto_scene nowhere",
    "*gosub nowhere",
    "*achieve nothing",
    "*set nothing 1",
    "*set a 1 + 2 + 3",
    "${nothing} here",
    "${a here",
    "*bug the author says so",
    "*create b 1",
    "*if nothing = 1\n    no",
    "*if a = 0\n  *else\n    no",
    "*else\n    no",
    "#an option",
    "*choice\n    no option",
    "*choice\n    *if (nothing) #One.\n      *finish",
    "*choice\n    #One of ${nothing}.\n      *finish",
    "*params x",
    "*rand nothing 1 6",
    "*input_number a 6 1",
    "*return",
    "*temp_array t many",
    "text\n      deeper",
    "*set a (((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))",
]


@pytest.mark.parametrize("lines", WRONG)
def test_what_is_wrong_is_told_where_play_comes_to_it(make_game: MakeGame, lines: str) -> None:
    startup = (
        "Start.\n*choice\n  #Right.\n    *finish\n  #Wrong.\n    *goto wrong\n"
        f"*label wrong\n*if true\n  {lines}\n"
    )
    game = make_game(startup, head=HEAD)
    game.choose(0)
    assert game.decision is None
    game.reset()
    with pytest.raises(InputError) as caught:
        game.choose(1)
    last = 11 + startup[startup.index("*if true") :].count("\n")
    assert caught.value.path == "test/startup.txt"
    assert caught.value.row is not None
    assert 12 <= caught.value.row <= last


@pytest.mark.parametrize("lines", [w for w in WRONG if w not in ("*input_number a 6 1", "*return")])
def test_the_checker_tells_it_before_play(folder: Callable[..., Path], lines: str) -> None:
    problems = check_story(folder(f"*if true\n  {lines}\n", head=HEAD))
    if not lines.startswith(("*bug", "*params")):
        assert any(p.kind in ("syntax", "label", "scene", "achievement", "variable") for p in problems)
    assert all(p.file.endswith("startup.txt") for p in problems)
    assert any(4 < p.line <= 5 + lines.count("\n") for p in problems)


def test_what_is_known_of_a_game_without_a_header(make_game: MakeGame) -> None:
    head = HEAD + "*achievement first visible 30 First\n  Before.\n  After.\n"
    game = make_game("*choice\n  #Win.\n    *achieve first\n    *finish", head=head)
    info = game.info
    assert (info.title, info.author, info.max_points) == ("A game", "Somebody", 30.0)
    assert info.summary == "A ChoiceScript game by Somebody; its source gives no summary."
    assert info.player_character
    assert SCORE.reward(game.choose(0)) == 30.0


def test_the_checker_asks_no_annotations_of_a_game_without(folder: Callable[..., Path]) -> None:
    assert check_story(folder("Start.\n*choice\n  #One.\n    End.\n    *finish", head=HEAD)) == []


def test_the_checker_plays_what_it_cannot_walk(folder: Callable[..., Path]) -> None:
    lines = "*rand a 1 6\n*choice\n  #One.\n    *if a = 6\n      *set a (1/0)\n    *finish"
    problems = check_story(folder(lines, head=HEAD))
    assert [(p.line, p.kind, p.message) for p in problems] == [(8, "play", "division by zero")]


def test_no_exact_front_where_lots_are_drawn(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match="'test' draws random numbers"):
        exact_front(make_game("*rand a 1 6\n*choice\n  #One.\n    *finish", head=HEAD), (SCORE,))


def test_a_stats_screen_stops_nothing(folder: Callable[..., Path]) -> None:
    stats = "*stat_chart\n  percent a\n  shape b\n*set nothing 1\n"
    path = folder("*gosub_scene choicescript_stats\nEnd.", head=HEAD, choicescript_stats=stats)
    with pytest.raises(InputError, match=r"choicescript_stats.txt:3: expected text, percent"):
        ChoiceScriptGame(load_story(path))
    (path / "startup.txt").write_text(HEAD + "Text.")
    assert ChoiceScriptGame(load_story(path)).text == "Text."


def test_a_stats_screen_in_play(shown: Callable[..., str]) -> None:
    stats = "*stat_chart\n  percent a Courage\n*return"
    assert shown(
        "One.\n*gosub_scene choicescript_stats\nTwo.\n*ending", head=HEAD, choicescript_stats=stats
    ) == ("One.\n\nCourage: 0%\n\nTwo.")


def test_a_file_that_is_not_utf8_is_at_fault_where_it_is_read(folder: Callable[..., Path]) -> None:
    path = folder("*choice\n  #Stay.\n    *ending\n  #Go.\n    *goto_scene second", head=HEAD)
    (path / "second.txt").write_bytes(b"Fine.\nCaf\xe9.\n")
    game = ChoiceScriptGame(load_story(path))
    with pytest.raises(InputError, match=r"second.txt:2: a character is not valid UTF-8"):
        game.choose(1)


def test_less_indentation_stays_in_the_block_it_is_deeper_than(shown: Callable[..., str]) -> None:
    lines = "*if a = {}\n      one\n   two\nend"
    assert shown(lines.format(0), head=HEAD) == "one two end"
    assert shown(lines.format(1), head=HEAD) == "end"


def test_an_endless_loop_is_bounded_and_told(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match=r"startup.txt:[45]: no choice after 500 lines: an endless loop"):
        make_game("*label top\n*goto top", head=HEAD, max_lines_per_step=500)


def test_growing_values_are_bounded(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match=r"startup.txt:7: a text of more than 100000 characters"):
        make_game(
            '*temp s "x"\n*label top\n*set s s&s\n*goto top'.replace("*temp", "*comment\n*temp", 1), head=HEAD
        )
    with pytest.raises(InputError, match=r"startup.txt:6: the result is too large"):
        make_game("*set a 9\n*label top\n*set a a*a\n*goto top", head=HEAD)


def test_declarations_below_the_head_are_read_as_if_they_stood_in_it(
    make_story: Callable[..., ChoiceScriptStory], folder: Callable[..., Path]
) -> None:
    startup = (
        "Hello.\n*create b 3\n*achievement late visible 20 Late\n  Before.\n  After.\n${b}\n*choice\n"
        "  #Win.\n    *achieve late\n    *finish\n  #Leave.\n    *finish\n"
    )
    story = make_story(startup, head=HEAD)
    game = ChoiceScriptGame(story)
    assert (game.text, game.info.max_points) == ("Hello. 3", 20)
    assert game.choose(0) == {"points": 20.0}
    found = check_story(folder(startup, head=HEAD))
    assert [(p.line, p.message.partition(" belongs")[0]) for p in found] == [
        (5, "*create"),
        (6, "*achievement"),
    ]
    with pytest.raises(InputError, match=r"startup\.txt:5: \*create belongs at the top"):
        make_story(startup.replace("    *achieve", "    *comment pluralign {}\n    *achieve"), head=HEAD)


def test_a_declaration_below_the_head_that_cannot_be_read_stops_nothing(
    make_story: Callable[..., ChoiceScriptStory],
) -> None:
    game = ChoiceScriptGame(make_story("*label x\n*create a 1\n*create c 1+1\n${a}\n*finish\n", head=HEAD))
    assert game.text == "0"
