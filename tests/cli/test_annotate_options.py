"""A game without annotations, from random play to a steered policy, by labels that its options are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pluralign.core.records import read_annotations, read_pairs, read_trajectories
from pluralign.evaluate.report.model import read_report

MODEL = "tiny-random"
NAMES = ("score", "harm_avoidance")
JUDGED = ("judged_score", "judged_harm_avoidance")
OPTIONS = ("--comparisons.of", "options")


@pytest.fixture(scope="module")
def made(story, tmp_path_factory):
    """Random play, labels by the oracle, and the side file with both."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("runs")

    def do(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert not ended.value.code, arguments

    do("collect", "--story", story, "--policy", "random", "--episodes", 60, "--out", folder / "t.jsonl")
    for name in NAMES:
        do("annotate", folder / "t.jsonl", "--objective", name, "--rater", "oracle", *OPTIONS,
           "--story", story, "--out", folder / "labels" / f"{name}.jsonl")  # fmt: skip
    side = folder / "labels" / "toll.pluralign.json"
    do("collect", "--story", side, "--policy", "random", "--episodes", 150, "--out", folder / "j.jsonl",
       "--objectives", *JUDGED)  # fmt: skip
    for name in JUDGED:
        annotations, pairs = folder / f"{name}.jsonl", folder / f"{name}-pairs.jsonl"
        do("annotate", folder / "j.jsonl", "--objective", name, "--rater", "oracle",
           "--comparisons.count", 400, "--out", annotations)  # fmt: skip
        do("pair", annotations, "--objective", name, "--ties", "soft", "--out", pairs)
        do("learn", "cpl", "--data", pairs, "--model", MODEL, "--out", folder / name,
           "--config.steps", 150, "--config.learning-rate", 0.01)  # fmt: skip
    return folder


@pytest.fixture
def side(made) -> Path:
    return made / "labels" / "toll.pluralign.json"


def test_both_objectives_are_in_one_side_file(made, side, story):
    row = json.loads(side.read_text())
    assert row["labels"] == ["score.jsonl", "harm_avoidance.jsonl"]
    assert (side.parent / row["story"]).resolve() == Path(story).resolve()
    counts = {metric for t in read_trajectories(made / "j.jsonl") for metric in t.counts()}
    assert {"judged.score", "judged.harm_avoidance", "points", "violations.stealing"} <= counts


def test_the_steered_policy_goes_from_one_label_to_the_other(made, side, run, tmp_path):
    folders = [f"{name}={made / name}" for name in JUDGED]
    sweep = ("sweep", "--policies", *folders, "--story", side, "--steps", 2, "--episodes", 40)
    assert run(*sweep, "--out", tmp_path / "sweep") == 0
    report = read_report(tmp_path / "sweep" / "report.json")
    low, high = report.sweep[0].returns, report.sweep[-1].returns
    assert high["judged_score"] > low["judged_score"] + 0.5
    assert low["judged_harm_avoidance"] > high["judged_harm_avoidance"] + 0.5
    assert report.hypervolume_ratio > 0.7
    play = ("evaluate", "play", "--story", side, "--episodes", 20, "--objectives", *JUDGED, "score")
    assert run(*play, "--policy", made / JUDGED[0], "--json", tmp_path / "f.json") == 0
    # The labels are the game's own here: who follows them is as good by its points.
    assert json.loads((tmp_path / "f.json").read_text())["returns"]["score"]["mean"] > 90


def test_the_game_is_shown_checked_and_played(side, run, tmp_path, capsys):
    figures = tmp_path / "f.json"
    assert run("games", "show", side, "--objectives", *JUDGED, "--json", figures) == 0
    shown = json.loads(figures.read_text())
    assert shown["worst"][0] < shown["random"][0] < shown["best"][0]
    assert run("games", "check", side) == 0
    capsys.readouterr()
    assert run("games", "play", side, "--policy", "random", "--objectives", *JUDGED) == 0
    assert "The end. judged_score" in capsys.readouterr().out


def test_pairs_of_options_teach_a_policy(made, run, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    labels = made / "labels" / "harm_avoidance.jsonl"
    pair = ("pair", labels, "--objective", "harm_avoidance", "--ties", "soft", "--out", pairs)
    assert run(*pair, "--shares", 0.7, 0.15, 0.15, "--json", tmp_path / "f.json") == 0
    counts = json.loads((tmp_path / "f.json").read_text())
    assert (counts["across_splits"], counts["pairs"]) == (0, len(read_annotations(labels)))
    splits: dict[str, set[str]] = {}
    for row in read_pairs(pairs):
        splits.setdefault(row.chosen.steps[0].decision.key, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    learn = ("learn", "cpl", "--data", pairs, "--model", MODEL, "--out", tmp_path / "p")
    assert run(*learn, "--config.steps", 60, "--config.learning-rate", 0.01) == 0


def test_a_judge_is_held_against_the_labels(made, run, story, tmp_path, capsys):
    judge = ("--rater", f"judge:{MODEL}", "--decide", "mean", *OPTIONS)
    rate = ("annotate", made / "t.jsonl", "--objective", "score", *judge, "--story", story)
    capsys.readouterr()
    assert run(*rate, "--out", tmp_path / "judge.jsonl", "--json", tmp_path / "f.json") == 0
    told = capsys.readouterr().out
    figures = json.loads((tmp_path / "f.json").read_text())["agreement_with_labels"]
    right = figures["right"]
    assert f"right where labels differ: {100 * right['share']:.0f} %" in told
    assert right["low"] <= right["share"] <= right["high"]
    assert f"wrote {tmp_path / 'toll.pluralign.json'}" in told
    assert run("agree", made / "labels" / "score.jsonl", tmp_path / "judge.jsonl") == 0
    # The verb says what `agree` says of the same two files.
    kappas = [line for line in told.splitlines() if line.startswith("kappa")]
    assert capsys.readouterr().out.splitlines() == kappas
    before = (tmp_path / "judge.jsonl").read_bytes()
    assert run(*rate, "--out", tmp_path / "judge.jsonl") == 0
    assert (tmp_path / "judge.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "toll.pluralign.json").read_text())["labels"] == ["judge.jsonl"]


def test_a_game_without_labels_says_so(run, tmp_path, capsys, story):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "startup.txt").write_text(
        "*title Bare\nA door.\n*choice\n  #In.\n    *finish\n  #Out.\n    *finish\n"
    )
    trajectories, out = tmp_path / "t.jsonl", tmp_path / "a.jsonl"
    assert run("collect", "--story", bare, "--policy", "random", "--episodes", 5, "--out", trajectories) == 0
    rate = ("annotate", trajectories, "--objective", "score", "--rater", f"judge:{MODEL}", *OPTIONS)
    capsys.readouterr()
    assert run(*rate, "--decide", "mean", "--story", bare, "--out", out, "--json", tmp_path / "f.json") == 0
    told = capsys.readouterr().out
    assert "the trajectories have no labels for 'score'" in told
    assert "labels for 1 of 1 decisions, 5 of 5 steps with a choice" in told
    assert json.loads((tmp_path / "f.json").read_text())["agreement_with_labels"] is None
    assert len(read_annotations(out)) == 1
    assert run("games", "show", tmp_path / "bare.pluralign.json", "--objectives", "judged_score") == 0


def test_what_is_refused(made, side, story, refuses, tmp_path):
    rate = ("annotate", made / "t.jsonl", "--objective", "score", "--rater", "oracle")
    out = ("--out", tmp_path / "x.jsonl")
    assert "field 'story': requires --comparisons.of options" in refuses(*rate, *out, "--story", story)
    assert "field 'length': does not apply to options" in refuses(
        *rate, *out, *OPTIONS, "--comparisons.length", 1
    )
    again = (*rate, *OPTIONS, "--story", story, "--out", side.parent / "again.jsonl")
    assert "field 'labels': already has labels for 'score'" in refuses(*again)
    other = refuses(*rate, *OPTIONS, *out, "--story", "salt_ledger")
    assert "'salt_ledger' does not begin as these trajectories do" in other
    taken = tmp_path / "toll.pluralign.json"
    taken.write_text("{}")
    assert "is the side file of an Ink story" in refuses(*rate, *OPTIONS, *out, "--story", story)
    taken.write_text(json.dumps({"story": "salt_ledger"}))
    assert "is of another story, salt_ledger" in refuses(*rate, *OPTIONS, *out, "--story", story)
    assert not (tmp_path / "x.jsonl").exists()
    # A story that has labels already: they are taken over.
    more = (*rate[:3], "power_avoidance", *rate[4:], *OPTIONS, "--story", side)
    assert "is of another story, salt_ledger" in refuses(*more, *out)


def test_labels_of_a_labelled_story_are_taken_over(made, side, run, tmp_path):
    rate = ("annotate", made / "t.jsonl", "--objective", "power_avoidance", "--rater", "oracle", *OPTIONS)
    assert run(*rate, "--story", side, "--out", tmp_path / "power.jsonl") == 0
    row = json.loads((tmp_path / "toll.pluralign.json").read_text())
    assert [Path(label).name for label in row["labels"]] == [
        "score.jsonl",
        "harm_avoidance.jsonl",
        "power.jsonl",
    ]
    assert run("games", "show", tmp_path / "toll.pluralign.json", "--objectives", *JUDGED) == 0


def test_names_of_a_side_file_are_taken_over(made, side, run, tmp_path):
    row = json.loads(side.read_text())
    named = tmp_path / "named.pluralign.json"
    labels = [{"file": str(side.parent / "score.jsonl"), "objective": "ahead"}]
    named.write_text(json.dumps({"story": str(side.parent / row["story"]), "labels": labels}))
    rate = ("annotate", made / "t.jsonl", "--objective", "power_avoidance", "--rater", "oracle", *OPTIONS)
    out = tmp_path / "new" / "power.jsonl"
    assert run(*rate, "--story", named, "--out", out) == 0
    first, second = json.loads((out.parent / "named.pluralign.json").read_text())["labels"]
    assert (first["objective"], second) == ("ahead", "power.jsonl")
