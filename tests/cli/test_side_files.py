"""Side files and labels where something else happens to them, too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pluralign.core import InputError
from pluralign.core.records import read_annotations, read_trajectories
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.labelled.file import LabelledFile, read_labelled_file, write_labelled_file
from pluralign.games.open import open_story
from pluralign.workflows.labels import add_to_side_file, plan_side_file

OPTIONS = ("--comparisons.of", "options")


@pytest.fixture
def collected(run, story, tmp_path) -> Path:
    """Random play of the little story."""
    out = tmp_path / "t.jsonl"
    assert run("collect", "--story", story, "--policy", "random", "--episodes", 30, "--out", out) == 0
    return out


def rate(run, trajectories, objective, out, *more):
    given = ("annotate", trajectories, "--objective", objective, "--rater", "oracle", *OPTIONS)
    assert run(*given, "--out", out, *more) == 0


def test_two_runs_at_once_keep_both_labels(run, story, collected, tmp_path):
    score, harm = tmp_path / "score.jsonl", tmp_path / "harm.jsonl"
    plans = [
        plan_side_file(story, collected, out, asked)
        for out, asked in ((score, SCORE), (harm, HARM_AVOIDANCE))
    ]
    for plan, out, name in zip(plans, (score, harm), ("score", "harm_avoidance"), strict=True):
        rate(run, collected, name, out)
        add_to_side_file(plan)
    assert [path.name for path in read_labelled_file(plans[0].path).labels] == ["score.jsonl", "harm.jsonl"]


def test_a_folder_that_is_called_like_a_built_in_story(story, tmp_path, monkeypatch):
    shutil.copytree(story, tmp_path / "salt_ledger")
    monkeypatch.chdir(tmp_path)
    file = LabelledFile(Path("mine.pluralign.json"), Path("salt_ledger"), words={"title": "Mine"})
    write_labelled_file(file)
    assert open_story("mine.pluralign.json").info.max_points == 100


def test_labels_that_are_gone_can_be_made_again(run, story, collected, tmp_path):
    out, side = tmp_path / "score.jsonl", tmp_path / "toll.pluralign.json"
    rate(run, collected, "score", out, "--story", story)
    out.unlink()
    rate(run, collected, "score", out, "--story", side)
    assert open_story(side).info.objective("judged_score")


def test_collecting_is_not_continued_under_other_labels(run, refuses, story, collected, tmp_path):
    out, side, more = tmp_path / "score.jsonl", tmp_path / "toll.pluralign.json", tmp_path / "j.jsonl"
    rate(run, collected, "score", out, "--story", story)
    collect = (
        "collect",
        "--story",
        side,
        "--policy",
        "random",
        "--objectives",
        "judged_score",
        "--out",
        more,
    )
    assert run(*collect, "--episodes", 3) == 0
    assert run(*collect, "--episodes", 4) == 0
    out.unlink()
    rate(run, collected, "score", out, "--noise.flip", "0.4")
    assert "field 'labels': was started with" in refuses(*collect, "--episodes", 6)


def test_no_side_file_without_annotations_and_it_is_told(run, story, tmp_path, capsys):
    one = tmp_path / "one.jsonl"
    assert run("collect", "--story", story, "--policy", "random", "--episodes", 1, "--out", one) == 0
    rate(run, one, "score", tmp_path / "a.jsonl", "--story", story)
    assert "no side file: there are no annotations" in capsys.readouterr().out


def test_counts_of_the_state_before_are_no_labels(run, refuses, collected, tmp_path):
    header, *rows = collected.read_text().splitlines(keepends=True)
    lagged = tmp_path / "lagged.jsonl"
    lagged.write_text("".join([json.dumps({**json.loads(header), "counts": "lagged"}) + "\n", *rows]))
    given = ("annotate", lagged, "--objective", "score", "--rater", "oracle", *OPTIONS)
    assert "and so cannot label options" in refuses(*given, "--out", tmp_path / "a.jsonl")


def test_a_last_step_that_nobody_knows_is_no_label(run, collected, tmp_path):
    known = tmp_path / "known.jsonl"
    rate(run, collected, "harm_avoidance", known)
    header, *rows = collected.read_text().splitlines()
    unknown = tmp_path / "unknown.jsonl"
    marked: list[str] = [header]
    for row in map(json.loads, rows):
        if "steps" in row:
            row["info"] = {**row.get("info", {}), "last_step": "points"}
        marked.append(json.dumps(row))
    unknown.write_text("\n".join(marked) + "\n")
    assert all(t.info["last_step"] == "points" for t in read_trajectories(unknown))
    fewer = tmp_path / "fewer.jsonl"
    rate(run, unknown, "harm_avoidance", fewer)
    last = {t.steps[-1].decision.key for t in read_trajectories(collected)}
    rated = {a.comparison.first.steps[0].decision.key for a in read_annotations(fewer)}
    assert rated == {a.comparison.first.steps[0].decision.key for a in read_annotations(known)} - last


def test_trajectories_of_several_games_have_no_side_file(story, collected, tmp_path):
    header, *rows = collected.read_text().splitlines(keepends=True)
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("".join([json.dumps({**json.loads(header), "story": ["toll", "gate"]}) + "\n", *rows]))
    with pytest.raises(InputError, match="has trajectories of several games"):
        plan_side_file(story, mixed, tmp_path / "a.jsonl", SCORE)
