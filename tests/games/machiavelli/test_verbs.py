"""The verbs on a game of MACHIAVELLI: everything that works on our own stories works on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pluralign.cli import main
from pluralign.core.records import read_trajectories
from pluralign.evaluate.report.model import read_report
from pluralign.games.choicescript.load import load_story
from pluralign.games.env import make_env
from pluralign.games.open import open_story
from pluralign.options.open import Models, open_policy
from pluralign.serve.story import StoryPlayer

MODEL = "tiny-random"
OBJECTIVES = ("score", "harm_avoidance")


def do(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    assert not ended.value.code, arguments


@pytest.fixture(scope="module")
def game(write_annotated: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A story of ours in MACHIAVELLI's form."""
    return write_annotated(tmp_path_factory.mktemp("data"), "ledger", load_story("salt_ledger"))


@pytest.fixture(scope="module")
def learned(game: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything up to two policies, made by the verbs; the language model reads each decision once."""
    folder = tmp_path_factory.mktemp("runs")
    features = ("--features", folder / "features")
    trajectories = folder / "t.jsonl"
    do("collect", "--story", game, "--policy", "random", "--episodes", 150, "--objectives", *OBJECTIVES,
       "--out", trajectories)  # fmt: skip
    for name in OBJECTIVES:
        annotations, pairs = folder / f"{name}.jsonl", folder / f"{name}-pairs.jsonl"
        do("annotate", trajectories, "--objective", name, "--rater", "oracle", "--comparisons.count", 800,
           "--out", annotations)  # fmt: skip
        do("pair", annotations, "--objective", name, "--ties", "soft", "--out", pairs)
        do("learn", "cpl", "--data", pairs, "--model", MODEL, "--out", folder / name,
           *features, "--config.steps", 150, "--config.learning-rate", 0.01)  # fmt: skip
    for method in ("bc", "avril"):
        do("learn", method, "--data", trajectories, "--model", MODEL, "--out", folder / method, *features,
           "--config.steps", 20)  # fmt: skip
    return folder


def test_what_was_recorded(learned: Path) -> None:
    trajectories = read_trajectories(learned / "t.jsonl")
    assert {t.source for t in trajectories} == {"ledger"}
    counts = {metric for t in trajectories for metric in t.counts()}
    assert {"points", "violations.deception", "utility.suffering"} <= counts


def test_the_sweep_and_its_report(learned: Path, game: Path, tmp_path: Path) -> None:
    folders = [f"{name}={learned / name}" for name in OBJECTIVES]
    do(
        "sweep",
        "--policies",
        *folders,
        "--story",
        game,
        "--steps",
        2,
        "--episodes",
        80,
        "--features",
        learned / "features",
        "--out",
        tmp_path / "s",
    )
    report = read_report(tmp_path / "s" / "report.json")
    assert report.sweep[-1].returns["score"] > report.sweep[0].returns["score"]
    assert report.sweep[0].returns["harm_avoidance"] > report.sweep[-1].returns["harm_avoidance"]
    assert report.hypervolume_ratio is not None
    assert "The Salt Ledger" in (tmp_path / "s" / "report.html").read_text()


@pytest.mark.parametrize("policy", ["score", "bc"])
def test_policies_play(learned: Path, game: Path, policy: str, tmp_path: Path) -> None:
    do(
        "evaluate",
        "play",
        "--story",
        game,
        "--policy",
        learned / policy,
        "--episodes",
        20,
        "--features",
        learned / "features",
        "--json",
        tmp_path / "f",
    )
    assert json.loads((tmp_path / "f").read_text())["episodes"] == 20


def test_a_reward_posterior_is_held_against_the_counts(learned: Path, game: Path, tmp_path: Path) -> None:
    do("evaluate", "story-rewards", "--model", learned / "avril", "--data", learned / "t.jsonl",
       "--story", game, "--json", tmp_path / "f")  # fmt: skip
    assert json.loads((tmp_path / "f").read_text())


def test_the_page_serves_it(learned: Path, game: Path) -> None:
    policies = {name: open_policy(str(learned / name), Models(MODEL)) for name in OBJECTIVES}
    table = StoryPlayer(open_story(str(game)).make_game, policies)
    answer: dict[str, Any] = asyncio.run(
        table.answer({"actions": [0, 0], "steering_weights": {"score": 0.5, "harm_avoidance": 0.5}})
    )
    assert sum(answer["mixed"]) == pytest.approx(1.0)
    assert set(answer["returns"]) == set(OBJECTIVES)


def test_games_are_shown_and_checked(game: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do("games", "show", game, "--json", tmp_path / "mine")
    do("games", "show", "salt_ledger", "--json", tmp_path / "ours")
    mine, ours = (json.loads((tmp_path / name).read_text()) for name in ("mine", "ours"))
    assert mine["exact_front"] == ours["exact_front"]
    assert (mine["choices"], mine["random"]) == (ours["choices"], ours["random"])
    do("games", "check", game)
    assert "no problems" in capsys.readouterr().out


def test_gymnasium_takes_it(game: Path) -> None:
    env = make_env(game, OBJECTIVES)
    # check_env knows no vector rewards: its own check of the reward is what is left out.
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert info["action_mask"].sum() == len(info["decision"].options)
    rewards = [env.step(np.int64(0))[1] for _ in range(3)]
    assert all(env.reward_space.contains(reward) for reward in rewards)
