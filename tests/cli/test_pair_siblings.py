"""The verb ``pair siblings``, as a person would use it, from random play to a policy."""

import json
from dataclasses import replace

import pytest

from pluralign.core.records import read_header, read_pairs, read_trajectories, write_records
from pluralign.folders.card import load_card


@pytest.fixture(scope="module")
def played(story, tmp_path_factory):
    """Random play of the small story."""
    from pluralign.cli import main

    path = tmp_path_factory.mktemp("runs") / "t.jsonl"
    with pytest.raises(SystemExit) as ended:
        main(["collect", "--story", story, "--policy", "random", "--episodes", "60", "--out", str(path)])
    assert not ended.value.code
    return path


def test_pairs_teach_a_policy(played, story, run, tmp_path, capsys):
    pairs, figures = tmp_path / "pairs.jsonl", tmp_path / "f.json"
    verb = ("pair", "siblings", "--data", played, "--objective", "score", "--out", pairs)
    capsys.readouterr()
    assert run(*verb, "--shares", 1, 0, 0, "--json", figures) == 0
    counts = json.loads(figures.read_text())
    told = capsys.readouterr().out
    assert f"wrote {pairs}  ({counts['pairs']} pairs at " in told
    assert "left out" not in told
    found = read_pairs(pairs)
    assert len(found) == counts["pairs"] == counts["pairs_train"]
    assert len({pair.weight for pair in found}) > 3
    assert read_header(pairs, "pairs")["temperature"] == 0.5
    best = max(found, key=lambda pair: pair.weight)
    assert best.chosen.steps[0].decision.options[best.chosen.steps[0].action] == "Keep the purse."
    learn = ("learn", "cpl", "--data", pairs, "--model", "tiny-random", "--out", tmp_path / "agent")
    assert run(*learn, "--config.steps", 80, "--config.learning-rate", 0.01) == 0
    assert load_card(tmp_path / "agent").data["pairs"] == counts["pairs"]
    play = ("evaluate", "play", "--story", story, "--episodes", 20, "--policy", tmp_path / "agent")
    assert run(*play, "--json", figures) == 0
    assert json.loads(figures.read_text())["returns"]["score"]["mean"] > 90


def test_episodes_that_were_cut_off_are_counted(played, run, tmp_path, capsys):
    rows = read_trajectories(played)
    cut = [replace(row, terminated=False, truncated=True) for row in rows[:7]]
    path = tmp_path / "t.jsonl"
    header = {"objectives": read_header(played, "trajectories")["objectives"]}
    write_records(path, "trajectories", [*cut, *rows[7:]], header)
    out = tmp_path / "pairs.jsonl"
    capsys.readouterr()
    assert run("pair", "siblings", "--data", path, "--objective", "score", "--out", out) == 0
    assert "left out: 7 episodes that were cut off" in capsys.readouterr().out
    assert read_header(out, "pairs")["counts"]["truncated"] == 7


def test_what_is_refused(played, run, refuses, tmp_path):
    out = tmp_path / "x.jsonl"
    verb = ("pair", "siblings", "--data", played, "--out", out)
    assert "unknown objective 'mercy'" in refuses(*verb, "--objective", "mercy")
    assert "field 'temperature': must be above 0" in refuses(
        *verb, "--objective", "score", "--temperature", 0
    )
    shares = ("--shares", 1, 1, 0)
    assert "field 'shares'" in refuses(*verb, "--objective", "score", *shares)
    one = tmp_path / "one.jsonl"
    header = {"objectives": read_header(played, "trajectories")["objectives"]}
    write_records(one, "trajectories", read_trajectories(played)[:1], header)
    alone = ("pair", "siblings", "--data", one, "--out", out, "--objective", "score")
    assert "all episodes took the same option" in refuses(*alone)
    absent = refuses("pair", "siblings", "--data", tmp_path / "no", "--out", out, "--objective", "score")
    assert f"{tmp_path / 'no'}" in absent
    # Text methods that cannot use uncertain labels say so.
    soft = tmp_path / "soft.jsonl"
    assert run(*verb[:-1], soft, "--objective", "score") == 0
    learn = ("learn", "sft", "--data", soft, "--model", "tiny-random", "--out", tmp_path / "sft")
    assert "sft does not support uncertain labels" in refuses(*learn)
    assert not out.exists()
