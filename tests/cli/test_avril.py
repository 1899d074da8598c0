"""AVRIL on the command line: from a file of trajectories to a table and a picture."""

import json
from dataclasses import replace

import pytest

from pluralign.cli.evaluate_story_rewards import evaluate_story_rewards
from pluralign.cli.learn import OptionRun, learn_avril
from pluralign.collect.roll_out import roll_out
from pluralign.core import InputError, UniformPolicy
from pluralign.core.files import write_json
from pluralign.core.records import write_records
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.open import open_story
from pluralign.learn.options.avril import AVRILConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random play, and what it seems to want."""
    folder = tmp_path_factory.mktemp("avril")
    make_game = open_story("salt_ledger").make_game
    played = list(
        roll_out(make_game, UniformPolicy(), episodes=8, seed=0, objectives=[SCORE, HARM_AVOIDANCE])
    )
    write_records(folder / "t.jsonl", "trajectories", played)
    bare = [replace(t, steps=tuple(replace(s, rewards={}) for s in t.steps)) for t in played]
    write_records(folder / "bare.jsonl", "trajectories", bare)
    run = OptionRun(folder / "t.jsonl", folder / "wants", "tiny-random", folder / "features")
    write_json(folder / "learned.json", learn_avril(run, AVRILConfig(steps=5, hidden=4)))
    return folder


def test_learning_tells_what_it_learned_from(folder):
    figures = json.loads((folder / "learned.json").read_text())
    assert figures["data"]["file"] == "t.jsonl"
    assert figures["data"]["trajectories"] == 8
    assert len(figures["figures"]["curve"]) == 5


def test_the_options_taken_against_the_rewards_in_the_file(folder, capsys):
    figures = evaluate_story_rewards(folder / "wants", folder / "t.jsonl", features=folder / "features")
    assert set(figures["mean"]) == {"score", "harm_avoidance"}
    found = figures["mean"]["score"]["spearman"]
    assert -1 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert "| posterior mean | harm avoidance |" in capsys.readouterr().out


def test_with_the_story_all_options_are_compared_without_rewards_in_the_file(folder):
    taken = evaluate_story_rewards(folder / "wants", folder / "t.jsonl", features=folder / "features")
    figures = evaluate_story_rewards(
        folder / "wants",
        folder / "bare.jsonl",
        story="salt_ledger",
        objectives=("power_avoidance",),
        out=folder / "report",
        features=folder / "features",
    )
    assert list(figures["mean"]) == ["power_avoidance"]
    assert figures["options"] > taken["options"]
    report = (folder / "report" / "rewards.md").read_text()
    assert "| sigma | visits, options taken |" in report
    assert "(rewards.svg)" in report
    assert (folder / "report" / "rewards.svg").read_text().startswith("<?xml")


def test_what_cannot_be_compared_is_one_line(folder):
    with pytest.raises(InputError, match="have no rewards"):
        evaluate_story_rewards(folder / "wants", folder / "bare.jsonl", features=folder / "features")
    with pytest.raises(InputError, match="no such folder"):
        evaluate_story_rewards(folder / "nowhere", folder / "t.jsonl")
    with pytest.raises(InputError, match="no such decision"):
        evaluate_story_rewards(
            folder / "wants", folder / "t.jsonl", story="high_water", features=folder / "features"
        )
