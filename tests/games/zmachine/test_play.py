"""Play of a small Z-machine story: commands, counts, states, endings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zmachine_toll import WALKTHROUGH
from zmachine_toll import toll as toll_story

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import InputError, UniformPolicy
from pluralign.core.records import read_trajectories
from pluralign.evaluate.story_facts import story_facts
from pluralign.games.check import check_game
from pluralign.games.env import StoryEnv, make_env
from pluralign.games.open import open_story
from pluralign.games.state_graph import explore
from pluralign.games.zmachine.game import ZMachineGame
from pluralign.games.zmachine.load import load_zmachine

LABELLED = {"annotations": "toll_annotations.csv", "annotated_by": "quotes"}


def choose(game: Any, command: str) -> dict[str, float]:
    assert game.decision is not None
    return dict(game.choose(game.decision.options.index(command)))


def test_a_story_file_is_a_story(toll: Any) -> None:
    story = open_story(toll().with_name("toll.z3"))
    assert (story.info.name, story.info.max_points, story.info.random) == ("toll", 10.0, True)
    assert [o.name for o in story.info.objectives][:3] == ["score", "harm_avoidance", "power_avoidance"]
    named = open_story(toll(title="The Toll", author="pluralign", max_points=12)).info
    assert (named.title, named.author, named.max_points) == ("The Toll", "pluralign", 12.0)


def test_an_episode(toll: Any) -> None:
    game = open_story(toll(prepared=False)).make_game()
    assert game.decision is not None
    assert (
        game.decision.prompt == "The Toll\nGate\nThe gate is open. North is the road.\nThere is a coin here."
    )
    assert game.decision.options == ("north", "take coin")
    assert choose(game, "take coin") == {}
    assert game.decision is not None
    assert game.decision.prompt.endswith("North is the road.\n\nYou carry: coin.\n\nTaken.")
    assert game.decision.options == ("drop coin", "north")
    choose(game, "north")
    assert choose(game, "give coin to beggar") == {"points": 5.0}
    assert choose(game, "north") == {"points": 5.0}
    assert (game.decision, game.text) == (None, "You are free. Your score is 10.")
    with pytest.raises(IndexError, match="option 0 of 0"):
        game.choose(0)


def test_play_ends_with_a_question_about_restarting_or_after_max_moves(toll: Any) -> None:
    game = open_story(toll(max_moves=3)).make_game()
    for command in ("north", "south"):
        choose(game, command)
    assert game.decision is None
    assert "river" in game.text
    game.reset()
    for command in ("take coin", "drop coin", "take coin"):
        choose(game, command)
    assert game.decision is None


def test_equal_states_have_equal_futures_and_the_seed_decides_chance(toll: Any) -> None:
    story = open_story(toll(**LABELLED))
    game, other = story.make_game(), story.make_game()
    for one in (game, other):
        one.reset(3)
        choose(one, "north")
    assert game.save() == other.save()
    saved = game.save()
    hits = [choose(game, "attack beggar") for _ in range(6)]
    after = game.save()
    game.restore(saved)
    assert [choose(game, "attack beggar") for _ in range(6)] == hits
    assert game.save() == after
    other.restore(saved)
    assert [choose(other, "attack beggar") for _ in range(6)] == hits
    found: set[tuple[float, ...]] = set()
    for seed in range(4):
        game.reset(seed)
        choose(game, "north")
        found.add(tuple(choose(game, "attack beggar").get("points", 0.0) for _ in range(4)))
    assert len(found) > 1
    with pytest.raises(InputError, match="not a saved state"):
        game.restore("elsewhere")


@pytest.mark.parametrize("markers", [False, True])
def test_annotations_count_by_markers_and_by_quotations(toll: Any, markers: bool) -> None:
    fields = {**LABELLED, "annotated_by": "markers" if markers else "quotes"}
    game = open_story(toll(markers=markers, **fields)).make_game()
    assert [o.name for o in game.info.objectives] == [
        *("score", "harm_avoidance", "power_avoidance"),
        *("self_harm_avoidance", "good_to_others", "good_to_self"),
    ]
    assert choose(game, "take coin") == {}
    assert isinstance(game, ZMachineGame)
    # ignore-first: the first attack at nothing does not count.
    assert game.enter("attack beggar") == {}
    assert game.enter("attack beggar") == {"variable.bad_others": 1.0}
    choose(game, "north")
    hits = [choose(game, "attack beggar") for _ in range(4)]
    assert {"points": -1.0, "variable.bad_others": 2.0} in hits
    given = choose(game, "give coin to beggar")
    # Two labels in one cell.
    assert given == {"points": 5.0, "variable.good_others": 1.0, "variable.bad_self": 1.0}
    assert "[" not in game.text
    assert game.info.objective("harm_avoidance").reward({"variable.bad_others": 2.0}) == -2.0


@pytest.mark.parametrize("inform", [False, True])
def test_points_of_a_story_that_shows_the_time_are_asked_for(toll: Any, inform: bool) -> None:
    game = open_story(toll(time=True, inform=inform)).make_game()
    assert isinstance(game, ZMachineGame)
    assert game.info.max_points == 10.0
    points = [game.enter(command).get("points", 0.0) for command in WALKTHROUGH]
    assert points == [0.0, 0.0, 5.0, 5.0]


def test_a_status_line_in_the_upper_window_is_no_text(tmp_path: Path) -> None:
    pytest.importorskip("fernz", reason="fernz, which plays Z-machine stories, is not installed")
    path = tmp_path / "toll.z5"
    path.write_bytes(toll_story(version=5, inform=True))
    game = open_story(path).make_game()
    assert game.decision is not None
    opening = "The Toll\nGate\nThe gate is open. North is the road.\nThere is a coin here."
    assert game.decision.prompt == opening
    choose(game, "take coin")
    saved, first = game.save(), game.decision
    assert game.text == "Taken."
    for command in ("drop coin", "take coin"):
        choose(game, command)
    # Two moves later, the page is the same.
    assert game.decision == first
    game.restore(saved)
    points = [choose(game, command).get("points") for command in ("north", "give coin to beggar", "north")]
    assert points == [None, 5.0, 5.0]
    assert game.text == "You are free. In that game you scored 10 out of a possible 10, in 4 turns."


def test_what_stories_do(toll: Any, tmp_path: Path) -> None:
    story = open_story(toll(max_moves=8, **LABELLED))
    objectives = story.info.select(["score", "harm_avoidance"])
    out = tmp_path / "t.jsonl"
    chooser = PolicyChooser(UniformPolicy())
    collect(story.make_game, chooser, out, episodes=3, seed=1, objectives=objectives, progress=False)
    assert len(list(read_trajectories(out))) == 3
    said: list[str] = []
    facts = story_facts(story, ["score", "harm_avoidance"], say=said.append)
    assert facts.played is not None
    assert facts.episodes == 10
    assert "draws random numbers" in said[0]
    with pytest.raises(InputError, match="draws random numbers"):
        explore(story.make_game())


def test_the_environment_can_lose_points(toll: Any) -> None:
    env = make_env(open_story(toll()), ["score"])
    assert isinstance(env, StoryEnv)
    assert env.reward_space.contains(np.array([-1.0]))
    assert env.reset(seed=0)[0] in env.observation_space


def test_the_walkthrough_is_checked(toll: Any) -> None:
    (missing,) = check_game(toll(prepared=False, walkthrough="toll_walkthrough.txt"))
    assert (missing.kind, "does not exist" in missing.message) == ("warning", True)
    side = toll(walkthrough="short.txt", markers=True, **LABELLED)
    side.with_name("short.txt").write_text("north\nattack beggar\n")
    found = [str(problem) for problem in check_game(side)]
    assert any("ends with -1 of 10 points with seed 0" in text for text in found)
    assert any("prints markers: use annotated_by: markers" in text for text in found)
    assert any(":5: verbs:31 is not counted: its filter is unknown: ask the author" in text for text in found)
    unmarked = toll(walkthrough="short.txt", annotations="toll_annotations.csv")
    assert any("prints no marker" in str(problem) for problem in check_game(unmarked))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_moves": 0}, "field 'max_moves': must be a whole number of 1 or more, found 0"),
        ({"annotated_by": "hand"}, "must be markers or quotes, found 'hand'"),
        ({"templates": "wipe {thing}"}, "must be a list of texts"),
        (
            {"templates": ["wipe {object}"]},
            "only {thing} and {held} stand for objects, found 'wipe {object}'",
        ),
        ({"templates": ["wipe {thing:x}"]}, "only {thing} and {held} stand for objects"),
        ({"templates": ["say {"]}, "only {thing} and {held} stand for objects"),
        ({"try_unknown": 1}, "field 'try_unknown': must be true or false, found 1"),
        ({"walktrough": "w.txt"}, "field 'walktrough': unknown; expected zmachine, walkthrough"),
        ({"walkthrough": "w.txt"}, "w.txt: cannot be read"),
        ({"player": "hero"}, "field 'player': 0 objects have this name"),
        ({"zmachine": "none.z3"}, "none.z3: cannot be read"),
        ({"zmachine": "toll_annotations.csv"}, "is not a Z-machine story"),
    ],
)
def test_what_is_refused(toll: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as found:
        open_story(toll(**fields))
    assert message in str(found.value)


def test_other_versions_are_refused(toll: Any) -> None:
    path = toll().with_name("six.z6")
    image = bytearray(path.with_name("toll.z3").read_bytes())
    image[0] = 6
    path.write_bytes(image)
    with pytest.raises(InputError, match=r"version 6; 3, 4, 5 and 8 can be played|is not a Z-machine story"):
        open_story(path)


def test_without_fernz_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toll.z3"
    path.write_bytes(toll_story())
    monkeypatch.setitem(sys.modules, "fernz", None)
    with pytest.raises(InputError, match=r"pip install 'pluralign\[zmachine\]'"):
        load_zmachine(path)
