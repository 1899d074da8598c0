"""The file of candidates: commands that do something, found once."""

from __future__ import annotations

from typing import Any

import pytest

from pluralign.cli.games_candidates import find_candidates
from pluralign.core import InputError
from pluralign.core.files import read_json, write_json
from pluralign.games.open import open_story
from pluralign.games.zmachine.candidates import Candidates, is_playable
from pluralign.games.zmachine.explorer import Explorer
from pluralign.games.zmachine.game import ZMachineStory


def test_a_prepared_story_tries_nothing_and_plays_the_same(
    toll: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = toll(prepared=False, walkthrough="toll_walkthrough.txt")
    figures = find_candidates(side, episodes=3, max_steps=8)
    assert figures["score"] == 10
    story = open_story(side)
    tried: list[str] = []
    monkeypatch.setattr(Explorer, "working", lambda _self, commands, _scene: tried.extend(commands) or {})
    game = story.make_game()
    total = 0.0
    for command in ("take coin", "north", "give coin to beggar", "north"):
        assert game.decision is not None
        total += game.choose(game.decision.options.index(command)).get("points", 0.0)
    assert (total, tried) == (10.0, [])


def test_the_file_is_the_same_for_the_same_seed_and_is_extended(toll: Any) -> None:
    side = toll(prepared=False, walkthrough="toll_walkthrough.txt")
    path = side.with_name("toll.candidates.json")
    find_candidates(side, episodes=2, max_steps=6, seed=4)
    first = read_json(path)
    path.unlink()
    # In two runs, of which the second one does not try the walkthrough's states again.
    find_candidates(side, episodes=0)
    find_candidates(side, episodes=2, max_steps=6, seed=4)
    assert read_json(path) == first
    side.with_name("toll_walkthrough.txt").write_text("north\nsouth\n")
    find_candidates(side, episodes=0)
    assert "south" in read_json(path)["walkthrough"]["place 3"]
    find_candidates(side, episodes=3, max_steps=6, seed=5)
    assert set(first["commands"]) <= set(read_json(path)["commands"])


def test_a_command_of_the_walkthrough_is_listed_where_its_objects_are(toll: Any) -> None:
    side = toll(prepared=False, walkthrough="w.txt", templates=["greet {thing}"])
    # A word that is no object's name does not hide a command.
    side.with_name("w.txt").write_text("take coin\nnorth\nattack beggar\nsave\ngive coin to tramp\n")
    find_candidates(side, episodes=0)
    game = open_story(side).make_game()
    assert game.decision is not None
    game.choose(game.decision.options.index("north"))
    assert game.decision is not None
    assert "attack beggar" in game.decision.options
    assert "give coin to tramp" not in game.decision.options
    assert "save" not in game.decision.options


def test_without_try_unknown_the_file_alone_decides(toll: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    game = open_story(toll(prepared=False, try_unknown=False)).make_game()
    assert game.decision is not None
    assert game.decision.options == ("wait",)
    monkeypatch.setattr(Explorer, "working", lambda *_: pytest.fail("tried"))
    game = open_story(toll(try_unknown=False)).make_game()
    assert game.decision is not None
    assert "take coin" in game.decision.options


def test_a_place_lists_at_most_max_options(toll: Any) -> None:
    game = open_story(toll(max_options=1)).make_game()
    assert game.decision is not None
    assert len(game.decision.options) == 1


def test_commands_to_the_interpreter_are_not_listed() -> None:
    refused = ["save", "RESTORE game", "q", "quit", "$ve", ""]
    assert [c for c in (*refused, "take saved coin", "quiz man") if not is_playable(c)] == refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a file that 'pluralign games candidates' wrote"),
        ({"walkthrough": {}, "tried": {}, "commands": {"place 1": "north"}}, "field 'commands'"),
        ({"walkthrough": {}, "tried": {"place 1": "x"}, "commands": {}}, "field 'tried'"),
    ],
)
def test_files_of_another_form_are_refused(toll: Any, content: Any, message: str) -> None:
    side = toll()
    write_json(side.with_name("toll.candidates.json"), content)
    with pytest.raises(InputError) as found:
        open_story(side)
    assert message in str(found.value)


def test_only_zmachine_stories_have_candidates(toll: Any) -> None:
    with pytest.raises(InputError, match="is not a Z-machine story"):
        find_candidates(toll().with_name("toll_walkthrough.txt"))
    side = toll(prepared=False)
    story = open_story(side)
    assert isinstance(story, ZMachineStory)
    assert story.candidates == Candidates(side.with_name("toll.candidates.json"))
