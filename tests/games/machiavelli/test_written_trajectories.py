"""Trajectories written in MACHIAVELLI's layout: counted by its own rules, and read again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from machiavelli_counts import OBJECTIVES, mach_counts

from pluralign.core import InputError, Step, Trajectory
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.load import load_story
from pluralign.games.machiavelli.files import read_annotations
from pluralign.games.machiavelli.folder import load_machiavelli
from pluralign.games.machiavelli.game import MachiavelliGame
from pluralign.games.machiavelli.trajectories import read_machiavelli
from pluralign.games.machiavelli.trajectory_writer import machiavelli_object, write_machiavelli


@pytest.fixture(scope="module")
def game_data(write_game: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A story of ours as a game of MACHIAVELLI, with votes by lot in place of its annotations."""
    scenes = load_story("salt_ledger").scenes
    bare = {name: text.replace("*comment pluralign", "*comment noted") for name, text in scenes.items()}
    return write_game(tmp_path_factory.mktemp("game_data"), "ledger", compile_story("ledger", bare))


def collected(game: MachiavelliGame, seed: int, steps: int = 100) -> Trajectory:
    """An episode of random play, cut off after so many steps."""
    lots, done = random.Random(seed), list[Step]()
    game.reset(seed)
    while game.decision is not None and len(done) < steps:
        decision = game.decision
        action = lots.randrange(len(decision.options))
        counts = dict(game.choose(action))
        done.append(Step(decision, action, counts=counts, outcome="" if game.decision else game.text))
    ended = game.decision is None
    return Trajectory(
        f"agent-0-{seed}", "ledger", "agent", seed, tuple(done), terminated=ended, truncated=not ended
    )


@pytest.mark.parametrize("steps", [100, 5])
def test_what_is_written_has_the_originals_own_counts(game_data: Path, steps: int) -> None:
    compatible = MachiavelliGame(load_machiavelli(game_data, compatible=True))
    attainable = compatible.info.max_points
    metrics: set[str] = set()
    for seed in range(30):
        trajectory = collected(compatible, seed, steps)
        made = json.loads(json.dumps(machiavelli_object(trajectory, compatible)))
        counts = trajectory.counts()
        points = counts.pop("points", 0.0)
        expected = mach_counts(made)
        assert expected.pop("game.score", 0.0) == pytest.approx(100 * points / attainable)
        assert counts == expected
        metrics |= set(counts)
    assert len(metrics) > 15


def test_the_layout_is_the_originals(game_data: Path) -> None:
    game = MachiavelliGame(load_machiavelli(game_data))
    trajectory = collected(game, 3)
    made = machiavelli_object(trajectory, game)
    lists = [made[name] for name in ("obs_list", "action_list", "reward_list", "info_list")]
    assert {len(entries) for entries in lists} == {len(trajectory.steps) + 1}
    assert made["action_list"] == [*(step.action for step in trajectory.steps), -1]
    infos = made["info_list"]
    assert infos[-1] == infos[-2]
    assert set(made["reward_list"][:-1]) == {0}
    # With the last reward, all points of our own, repaired counts are there.
    won = infos[-1]["game_state"]["points"] + made["reward_list"][-1] - infos[0]["game_state"]["points"]
    assert won == trajectory.counts()["points"]
    first = trajectory.steps[0].decision
    assert made["obs_list"][0].startswith(f"{first.prompt}\n0: {first.options[0]}\n1: ")
    assert made["obs_list"][-1] == f"{trajectory.steps[-1].outcome}\nTHE END!\n"
    state = infos[0]["game_state"]
    assert (state["num_choices"], state["choice_texts"]) == (len(first.options), list(first.options))
    assert state["current_nodes"][0] == "startup_0"
    assert set(infos[0]["game_achievements"]) == {
        *state["unlocked_achievements"],
        *state["remaining_achievements"],
    }
    assert infos[0]["max_points"] == game.info.max_points
    assert infos[0]["game_state"]["new_achievements"] == []
    new = [name for info in infos[:-1] for name in info["game_state"]["new_achievements"]]
    assert sorted(new) == sorted(infos[-1]["game_state"]["unlocked_achievements"])
    assert new
    cut = machiavelli_object(collected(game, 3, steps=4), game)
    assert len(cut["action_list"]) == 4
    assert -1 not in cut["action_list"]
    assert set(cut["reward_list"]) == {0}
    assert cut["info_list"] == infos[:4]


@pytest.mark.parametrize("steps", [100, 5])
def test_what_was_written_reads_as_it_was(game_data: Path, tmp_path: Path, steps: int) -> None:
    game = MachiavelliGame(load_machiavelli(game_data))
    annotations = read_annotations(game_data.parent.parent / "annotations_clean" / "ledger.json")
    for seed in range(10):
        trajectory = collected(game, seed, steps)
        path = tmp_path / f"{seed}.json"
        write_machiavelli(path, trajectory, game)
        (read,) = read_machiavelli(path, OBJECTIVES, annotations=lambda name: {"ledger": annotations}[name])
        found = read.trajectory
        assert read.max_points == game.info.max_points
        assert (found.source, found.policy, found.seed) == ("ledger", "agent", seed)
        assert (found.terminated, found.truncated) == (trajectory.terminated, trajectory.truncated)
        assert [(s.decision, s.action, s.outcome) for s in found.steps] == [
            (s.decision, s.action, s.outcome) for s in trajectory.steps
        ]
        assert [s.counts for s in found.steps[:-1]] == [s.counts for s in trajectory.steps[:-1]]
        # The last step's nodes are not in the file.
        last = trajectory.steps[-1].counts.get("points") if trajectory.terminated else None
        assert found.steps[-1].counts == ({"points": last} if last else {})
        assert found.info["last_step"] == ("points" if trajectory.terminated else "nothing")
        assert found.info["counts"] == "nodes"
        for step in found.steps:
            assert step.rewards == {o.name: o.reward(step.counts) for o in OBJECTIVES}


@pytest.mark.parametrize("steps", [100, 5])
def test_compatible_reading_gives_the_originals_counts(game_data: Path, tmp_path: Path, steps: int) -> None:
    compatible = MachiavelliGame(load_machiavelli(game_data, compatible=True))
    for seed in range(10):
        trajectory = collected(compatible, seed, steps)
        path = tmp_path / f"{seed}.json"
        write_machiavelli(path, trajectory, compatible)
        (read,) = read_machiavelli(path, OBJECTIVES, compatible=True)
        assert read.trajectory.info["counts"] == "lagged"
        assert [s.counts for s in read.trajectory.steps] == [s.counts for s in trajectory.steps]


def test_other_peoples_trajectories_are_not_written(game_data: Path) -> None:
    game = MachiavelliGame(load_machiavelli(game_data))
    trajectory = collected(game, 1)
    with pytest.raises(InputError, match="'agent-0-1' is of 'gate', not 'ledger'"):
        machiavelli_object(replace(trajectory, source="gate"), game)
    swapped = replace(trajectory, steps=trajectory.steps[1:])
    with pytest.raises(InputError, match="'agent-0-1' shows another decision at step 0"):
        machiavelli_object(swapped, game)
