"""``pluralign evaluate search`` on a small story with a tiny model."""

from __future__ import annotations

import json

import pytest

from pluralign.core.records import read_trajectories

MODEL = "tiny-random"
WEIGHTS = "score=0.5,harm_avoidance=0.5"


@pytest.fixture
def values(run, story, tmp_path):
    """A model of any weights, learned from a few random episodes."""
    assert (
        run("collect", "--story", story, "--policy", "random", "--episodes", 20, "--out", tmp_path / "t") == 0
    )
    folder = tmp_path / "q"
    assert run("learn", "q", "--data", tmp_path / "t", "--model", MODEL, "--out", folder,
               "--objectives", "score", "harm_avoidance", "--config.steps", 100,
               "--config.heads", 1) == 0  # fmt: skip
    return folder


def test_searches_with_learned_values_write_table_picture_and_plays(run, story, values, tmp_path, capsys):
    out, figures = tmp_path / "search", tmp_path / "figures.json"
    command = ("evaluate", "search", "--story", story, "--weights", WEIGHTS, "--budgets", 4, 20,
               "--methods", "beam", "bavt", "parallel", "--seeds", 2)  # fmt: skip
    assert run(*command, "--values", values, "--out", out, "--json", figures) == 0
    told = capsys.readouterr().out
    assert "worth (1: best)" in told
    found = json.loads(figures.read_text())
    assert len(found["sides"]) == 6
    # 20 calls are enough to see the whole story.
    whole = next(row for row in found["sides"] if (row["method"], row["budget"]) == ("beam", 20))
    assert whole["worth"]["mean"] == pytest.approx(1.0)
    assert {path.name for path in out.iterdir()} == {
        "search.json", "search.md", "search.svg", "trajectories.jsonl"
    }  # fmt: skip
    assert len(read_trajectories(out / "trajectories.jsonl")) == 2 + 4 + 4
    # The agents of a mixture are the same model here, so nothing is different.
    assert run(*command, "--values", f"score={values}", f"harm_avoidance={values}",
               "--out", tmp_path / "named") == 0  # fmt: skip
    named = json.loads((tmp_path / "named" / "search.json").read_text())
    assert named["sides"] == found["sides"]
    # What a search found teaches agents.
    for method in ("q", "bc"):
        assert run("learn", method, "--data", out / "trajectories.jsonl", "--model", MODEL,
                   "--out", tmp_path / f"from-{method}", "--config.steps", 2) == 0  # fmt: skip


def test_bad_values_are_refused_by_name(run, story, values, refuses, tmp_path):
    given = ("evaluate", "search", "--story", story, "--weights", WEIGHTS, "--out", tmp_path / "out")
    assert "expected one folder, NAME=DIR entries, or exact" in refuses(*given, "--values", "a", "b")
    assert "holds no values; expected a folder that learn q wrote" in refuses(*given, "--values", "random")
    assert "unknown objective" in refuses(
        "evaluate", "search", "--story", story, "--weights", "fame=1", "--out", tmp_path / "out",
        "--values", values,
    )  # fmt: skip
    assert "found 'mcts'" in refuses(*given, "--values", "exact", "--methods", "mcts")
    assert not (tmp_path / "out").exists()


def test_plays_that_were_cut_off_are_told(run, story, tmp_path, capsys):
    out, command = tmp_path / "out", ("evaluate", "search", "--story", story, "--values", "exact")
    # Who does nothing harms nobody: the first step is as good as the best whole play.
    given = ("--weights", "harm_avoidance=1", "--methods", "beam", "parallel", "--budgets", 20, "--seeds", 2)
    assert run(*command, *given, "--max-steps", 1, "--out", out) == 0
    told = "3 of 3 plays were cut off before an end"
    written = capsys.readouterr().out, (out / "search.md").read_text(encoding="utf-8")
    assert all(told in text and "cut off" in text and "2 of 2" in text for text in written)
    assert run(*command, *given, "--out", tmp_path / "whole") == 0
    assert "plays were cut off" not in capsys.readouterr().out
    assert "0 of 2" in (tmp_path / "whole" / "search.md").read_text(encoding="utf-8")
