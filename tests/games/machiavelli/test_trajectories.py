"""MACHIAVELLI's trajectories in JSON: read, and counted as its own code counts them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from machiavelli_counts import OBJECTIVES, mach_counts

from pluralign.core import InputError, Trajectory
from pluralign.games.machiavelli.trajectories import read_machiavelli, split_observation

Info = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def info(no_votes: dict[str, Any]) -> Info:
    """Notes a state: its points, its nodes' sum (labels by votes), its options."""

    def note(points: float, *, votes: Mapping[str, float] | None = None, options: int = 2) -> dict[str, Any]:
        summed = {**no_votes, "morality": {**no_votes["morality"], **(votes or {})}}
        return {
            "max_points": 50,
            "game_state": {
                "num_choices": options,
                "choice_texts": ["Ask ${name}.", "Go."][:options],
                "points": points,
                "current_nodes": ["a_0", "a_0", "None"],
            },
            "annotations": None if votes is None else summed,
        }

    return note


@pytest.fixture
def by_hand(info: Info) -> dict[str, Any]:
    """Two actions; what the second leads to is known by the last reward alone."""
    second = info(15, votes={"spying": 0.8, "killing": 0.5})
    return {
        "game_name": "gate", "agent_name": "random", "env_seed": 4, "timestamp": "20230401-120000-000001",
        "obs_list": ["A gate.\n\n0: Ask Ann.\n1: Go.\n", "Ann waits.\n", "You sleep.\nTHE END!\n"],
        "action_list": [0, 1, -1],
        "reward_list": [0, 0, 30],
        "info_list": [info(5, votes={"other": 1}), second, second],
    }  # fmt: skip


def read_one(folder: Path, made: object, **options: Any) -> Trajectory:
    path = folder / "one.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    (read,) = read_machiavelli(path, OBJECTIVES, **options)
    return read.trajectory


def test_a_file_by_hand(by_hand: dict[str, Any], tmp_path: Path) -> None:
    found = read_one(tmp_path, by_hand)
    first, last = found.steps
    assert (first.decision.prompt, first.decision.options) == ("A gate.", ("Ask Ann.", "Go."))
    # No options stand at the end of this text.
    assert (last.decision.prompt, last.decision.options) == ("Ann waits.", ("Ask ${name}.", "Go."))
    assert first.counts == {"points": 10.0, "violations.spying": 1.0}
    assert first.rewards == {"score": 10.0, "harm_avoidance": -1.0}
    assert last.counts == {"points": 30.0}
    assert last.outcome == "You sleep."
    assert found.id == "gate-random-20230401-120000-000001"
    assert found.info == {"timestamp": "20230401-120000-000001", "counts": "sums", "last_step": "points"}
    lagged = read_one(tmp_path, by_hand, compatible=True)
    assert [step.counts for step in lagged.steps] == [
        {"points": 5.0, "violations.other": 1.0},
        {"points": 10.0, "violations.spying": 2.0},
    ]


def test_a_last_state_of_its_own_is_taken(by_hand: dict[str, Any], info: Info, tmp_path: Path) -> None:
    """The original's ``full_resim`` notes the state that ended the game."""
    by_hand["info_list"][-1] = info(45, votes={"stealing": 1}, options=0)
    found = read_one(tmp_path, by_hand)
    assert found.steps[-1].counts == {"points": 30.0, "violations.stealing": 1.0}
    assert found.info["last_step"] == "whole"
    lagged = read_one(tmp_path, by_hand, compatible=True)
    expected = mach_counts(by_hand)
    assert expected.pop("game.score") == 100 * lagged.counts()["points"] / 50
    assert {k: v for k, v in lagged.counts().items() if k != "points"} == expected


def test_each_node_is_held_against_the_threshold(
    by_hand: dict[str, Any], no_votes: dict[str, Any], tmp_path: Path
) -> None:
    half = {**no_votes, "morality": {**no_votes["morality"], "spying": 0.4, "promises": 0.6}}
    found = read_one(tmp_path, by_hand, annotations=lambda game: {"a_0": half})
    assert found.steps[0].counts == {"points": 10.0, "violations.promises": 1.0}


def test_files_of_lines_and_of_one_spread_object(by_hand: dict[str, Any], tmp_path: Path) -> None:
    cut = {**by_hand, "timestamp": "", **{k: v[:1] for k, v in by_hand.items() if k.endswith("_list")}}
    path = tmp_path / "two.jsonl"
    path.write_text(f"{json.dumps(by_hand)}\n{json.dumps(cut)}\n", encoding="utf-8")
    whole, begun = (read.trajectory for read in read_machiavelli(path, OBJECTIVES))
    assert whole == read_one(tmp_path, by_hand)
    assert begun.id == "gate-random-two-2"
    assert (begun.terminated, begun.truncated) == (False, True)
    assert [step.counts for step in begun.steps] == [{}]
    path.write_text(json.dumps(by_hand, indent=2), encoding="utf-8")
    (spread,) = read_machiavelli(path, OBJECTIVES)
    assert spread.trajectory == whole


@pytest.mark.parametrize(
    ("text", "raw", "expected"),
    [
        ("A.\n0: x\n1: y: z\n", ["X", "Y"], ("A.", ("x", "y: z"))),
        ("A.\n0: x\n", ["X", "Y"], ("A.\n0: x", ("X", "Y"))),
        ("A.\n1: x\n0: y\n", ["X", "Y"], ("A.\n1: x\n0: y", ("X", "Y"))),
        ("0: x\n1: y\n", ["X", "Y"], ("", ("x", "y"))),
        ("1: y\n", ["X", "Y"], ("1: y", ("X", "Y"))),
        ("A.\n", [], ("A.", ())),
    ],
)
def test_options_are_the_lines_at_the_end(text: str, raw: list[str], expected: tuple[str, Any]) -> None:
    assert split_observation(text, raw) == expected


def at(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """Changes what lies there."""

    def change(made: Any) -> None:
        for key in path[:-1]:
            made = made[key]
        made[path[-1]] = value

    return change


STATE = ("info_list", 0, "game_state")
VOTES = ("info_list", 0, "annotations")


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (at("game_name", value=3), "game_name", "expected str, found 3"),
        (at("obs_list", value=["a"]), "info_list", "and infos; found 1, 3, 3, 3"),
        (at("action_list", 0, value=2), "action_list[0]", "must be one of 2 options, from 0; found 2"),
        (at("action_list", 0, value=-1), "action_list", "has no action"),
        (at("action_list", 1, value=-1), "action_list[1]", "must be one of 2 options, from 0; found -1"),
        (at("reward_list", 2, value=-3), "reward_list[2]", "expected a number of 0 or more, found -3"),
        (at("reward_list", 2, value=10**400), "reward_list[2]", "expected a number of 0 or more, found 1000"),
        (at("info_list", 0, value=[]), "info_list[0]", "expected a JSON object, found list"),
        (at("info_list", 0, "max_points", value=None), "info_list[0].max_points", "expected int or float"),
        (at(*STATE, "points", value="5"), "info_list[0].game_state.points", "expected int or float"),
        (at(*STATE, "num_choices", value=3), "info_list[0].game_state.choice_texts", "expected 3 texts"),
        (at(*VOTES, "morality", "spying", value="1"), "info_list[0].annotations.morality.spying", "finite"),
        (at(*VOTES, "money", "dollars", value=10**400), "info_list[0].annotations.money.dollars", "finite"),
        (at("info_list", 0, "max_points", value=10**400), "info_list[0].max_points", "number of 0 or more"),
        (at("agent_name", value="\ud83d"), None, "has a lone surrogate"),
        (at("obs_list", 1, value="Ann \udc00."), None, "has a lone surrogate"),
        (at(*VOTES, value={"ethics": {}}), "info_list[0].annotations.ethics", "unknown; expected utility"),
        (at("env_seed", value="4"), "env_seed", "expected int, found '4'"),
    ],
)
def test_bad_files_are_refused_by_field(
    by_hand: dict[str, Any], tmp_path: Path, change: Callable[[Any], None], field: str | None, message: str
) -> None:
    made = json.loads(json.dumps(by_hand))
    change(made)
    with pytest.raises(InputError, match=message) as refused:
        read_one(tmp_path, made)
    assert (refused.value.field, refused.value.row) == (field, 1)


def test_pickles_are_never_opened(by_hand: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one.pkl", "one.json"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(by_hand))
        with pytest.raises(
            InputError, match=r"is a pickle, which may run code .* docs/other_games\.md explains"
        ):
            list(read_machiavelli(path, OBJECTIVES))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_machiavelli(tmp_path / "none.json", OBJECTIVES))
    (tmp_path / "broken.json").write_text("{\n", encoding="utf-8")
    with pytest.raises(InputError, match="not JSON"):
        list(read_machiavelli(tmp_path / "broken.json", OBJECTIVES))
