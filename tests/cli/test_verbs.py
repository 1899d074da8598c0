"""The verbs, as a person would use them, on a small story and a tiny random model."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from pluralign.core import InputError
from pluralign.core.records import read_annotations, read_pairs, read_trajectories
from pluralign.evaluate.report.model import read_report
from pluralign.workflows.stages import StagedRun

MODEL = "tiny-random"


def test_games_are_listed_shown_and_checked(run, capsys, tmp_path, story):
    figures = tmp_path / "figures.json"
    assert run("games", "list", "--json", figures) == 0
    assert set(json.loads(figures.read_text())) == {
        "glass_quarter",
        "high_water",
        "ninth_watch",
        "salt_ledger",
    }
    assert run("games", "show", story, "--json", figures) == 0
    shown = json.loads(figures.read_text())
    assert shown["exact_front"] == [[100.0, -2.0], [40.0, 0.0]]
    assert (shown["worst"], shown["best"]) == ([0.0, -5.0], [100.0, 0.0])
    assert run("games", "check", story) == 0
    assert "no problems" in capsys.readouterr().out


def test_a_broken_story_is_told_with_file_and_line(run, capsys, tmp_path, refuses):
    (tmp_path / "startup.txt").write_text("*title X\nText.\n*choice\n  #Go.\n    *goto nowhere\n")
    assert run("games", "check", tmp_path) == 1
    assert "startup.txt:5:" in capsys.readouterr().out
    assert "startup.txt:5" in refuses(
        "collect", "--story", tmp_path, "--policy", "random", "--out", tmp_path / "t"
    )
    assert "no story 'nowhere'" in refuses("games", "check", "nowhere")


def test_a_person_plays(run, capsys, monkeypatch, story, refuses):
    monkeypatch.setattr("sys.stdin", io.StringIO("9\nx\n3\n2\n1\n"))
    assert run("games", "play", story) == 0
    out = capsys.readouterr().out
    assert "The carter offers a coin." in out
    assert "The end. score 0, harm_avoidance 0" in out
    monkeypatch.setattr("sys.stdin", io.StringIO("q\n"))
    assert run("games", "play", story) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    assert "the input ended before the story did" in refuses("games", "play", story)


@pytest.fixture(scope="module")
def learned(story, tmp_path_factory):
    """Everything up to two policies, made by the verbs."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("runs")

    def do(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert not ended.value.code, arguments

    do("collect", "--story", story, "--policy", "random", "--episodes", 150, "--out", folder / "t.jsonl")
    for name in ("score", "harm_avoidance"):
        annotations, pairs = folder / f"{name}.jsonl", folder / f"{name}-pairs.jsonl"
        do("annotate", folder / "t.jsonl", "--objective", name, "--rater", "oracle",
           "--comparisons.count", 400, "--out", annotations)  # fmt: skip
        do("pair", annotations, "--objective", name, "--ties", "soft", "--out", pairs)
        do("learn", "cpl", "--data", pairs, "--model", MODEL, "--out", folder / name,
           "--config.steps", 150, "--config.learning-rate", 0.01)  # fmt: skip
    return folder


def test_the_data_goes_its_way(learned, run, story, tmp_path):
    assert len(read_trajectories(learned / "t.jsonl")) == 150
    annotations = read_annotations(learned / "score.jsonl")
    pairs = read_pairs(learned / "score-pairs.jsonl")
    assert len(annotations) == len(pairs) == 400
    splits: dict[str, set[str]] = {}
    for pair in pairs:
        for segment in (pair.chosen, pair.rejected):
            splits.setdefault(segment.trajectory_id, set()).add(pair.split)
    assert all(len(found) == 1 for found in splits.values())
    out = tmp_path / "sweep"
    folders = (f"score={learned / 'score'}", f"harm_avoidance={learned / 'harm_avoidance'}")
    grid = ("--steps", 4, "--episodes", 40)
    arguments = ("sweep", "--policies", *folders, "--story", story, *grid, "--out", out)
    assert run(*arguments, "--json", tmp_path / "figures.json") == 0
    report = read_report(out / "report.json")
    assert json.loads((tmp_path / "figures.json").read_text())["story"] == report.story == "toll"
    # The agents learned what they should: the planted optimum of each objective.
    assert report.sweep[-1].returns["score"] > 95
    assert report.sweep[0].returns["harm_avoidance"] > -0.1
    assert report.hypervolume_ratio > 0.85
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert (out / "picture.svg").read_text().startswith("<svg")
    before = (out / "sweep.jsonl").read_bytes()
    assert run(*arguments) == 0
    assert (out / "sweep.jsonl").read_bytes() == before


def test_a_steered_policy_plays(learned, run, story, tmp_path, refuses, capsys):
    both = ("--policies", f"score={learned / 'score'}", f"harm_avoidance={learned / 'harm_avoidance'}")
    play = ("evaluate", "play", "--story", story, "--episodes", 40)
    assert run(*play, *both, "--weights", "score=1,harm_avoidance=0", "--json", tmp_path / "f.json") == 0
    assert json.loads((tmp_path / "f.json").read_text())["returns"]["score"]["mean"] > 95
    assert "must sum to 1, found 0.9" in refuses(*play, *both, "--weights", "score=0.5,harm_avoidance=0.4")
    assert "not negative" in refuses(*play, *both, "--weights", "score=1.5,harm_avoidance=-0.5")
    assert "unknown objective 'candour'" in refuses(*play, *both, "--weights", "candour=1")
    assert "either --policy, or --policies" in refuses(*play)
    assert "expected NAME=DIR" in refuses(*play, "--policies", "score", "--weights", "score=1")
    assert "unknown objective 'fame'" in refuses(*play, "--policy", "random", "--objectives", "fame")
    assert run(*play, "--policy", "random", "--episodes", "16", "--tail", "0.125") == 0
    assert "score (worst 12.5%)" in capsys.readouterr().out
    for option, value in (("weights", "score=1"), ("power", "1")):
        said = refuses(*play, "--policy", "random", f"--{option}", value)
        assert f"field '{option}': requires --policies" in said


def test_behaviour_cloning_and_a_policy_that_plays_alone(learned, run, story, tmp_path):
    arguments = ("learn", "bc", "--data", learned / "t.jsonl", "--model", MODEL, "--out", tmp_path / "bc")
    assert run(*arguments, "--config.steps", 20) == 0
    out = tmp_path / "played.jsonl"
    collect = ("collect", "--story", story, "--policy", tmp_path / "bc", "--episodes", 5, "--out", out)
    assert run(*collect) == 0
    assert len(read_trajectories(out)) == 5


def test_people_rate_by_a_sheet_and_agreement_is_told(learned, run, tmp_path, capsys):
    sheet, figures = tmp_path / "sheet.csv", tmp_path / "kappa.json"
    rate = ("annotate", learned / "t.jsonl", "--objective", "score", "--comparisons.count", 20)
    assert run(*rate, "--rater", "sheet", "--out", sheet) == 0
    assert run(*rate, "--rater", "oracle", "--out", tmp_path / "oracle.jsonl") == 0
    known = {a.comparison.id: a.preference for a in read_annotations(tmp_path / "oracle.jsonl")}
    with sheet.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row["preference"] = known[row["comparison"]]
    with sheet.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert run(*rate, "--rater", f"human:{sheet}", "--out", tmp_path / "human.jsonl") == 0
    assert run("agree", tmp_path / "oracle.jsonl", tmp_path / "human.jsonl", "--json", figures) == 0
    assert json.loads(figures.read_text())["all"]["kappa"] == 1.0
    assert "kappa, all: 1.000" in capsys.readouterr().out
    # What is not defined is null: JSON has no NaN.
    one = tmp_path / "one.jsonl"
    assert run(*rate[:4], "--comparisons.count", 1, "--rater", "oracle", "--out", one) == 0
    assert run("agree", one, one, "--json", figures) == 0
    assert "NaN" not in figures.read_text()
    assert json.loads(figures.read_text())["all"]["kappa"] is None


def test_broken_files_and_names_are_refused(learned, refuses, tmp_path):
    data = (learned / "t.jsonl").read_bytes()
    broken = tmp_path / "t.jsonl"
    rate = ("annotate", broken, "--rater", "oracle", "--out", tmp_path / "a.jsonl")
    broken.write_bytes(data[:-20])
    assert "the line is cut off" in refuses(*rate, "--objective", "score")
    broken.write_bytes(data.replace(b"The carter offers a coin.", b"The carter offers two.", 1))
    assert "t.jsonl:2, field 'digest'" in refuses(*rate, "--objective", "score")
    broken.write_bytes(data)
    assert "unknown objective 'fame'" in refuses(*rate, "--objective", "fame")
    other = ("annotate", broken, "--objective", "score", "--out", tmp_path / "a.jsonl")
    assert "unknown rater 'dice'" in refuses(*other, "--rater", "dice")
    learn = ("learn", "cpl", "--model", MODEL, "--out", tmp_path / "p", "--data")
    assert "expected a pairs file" in refuses(*learn, broken)
    assert "No such file" in refuses(*learn, tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    pair = ("pair", learned / "score.jsonl", "--objective", "score", "--out", tmp_path / "file" / "x.jsonl")
    assert "cannot be written" in refuses(*pair)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert not (tmp_path / "a.jsonl").exists()


def test_a_dead_endpoint_is_told(story, refuses, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    arguments = (
        "collect",
        "--story",
        story,
        "--policy",
        "openai:any",
        "--episodes",
        2,
        "--out",
        tmp_path / "t",
        "--retries",
        1,
    )
    assert "http://127.0.0.1:9/v1 for model 'any'" in refuses(*arguments)


def test_a_full_disk_is_told_and_leaves_the_old_file(learned, tmp_path):
    out = tmp_path / "pairs.jsonl"
    out.write_text("old\n")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); "
        "from pluralign.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "pair", str(learned / "score.jsonl"), "--objective", "score"]
    ended = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [f"pluralign: {out}: cannot be written: File too large"]
    assert out.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [out]


def test_stages_run_again_when_something_before_them_changed(tmp_path):
    ran: list[str] = []

    def stages(first: int, *, fail: bool = False) -> list[dict]:
        run = StagedRun(tmp_path, stages=2)

        def do(name):
            if fail and name == "b":
                raise InputError("stopped")
            ran.append(name)
            return {"name": name}

        return [run.stage(n, n, {"x": first if n == "a" else 0}, lambda n=n: do(n)) for n in ("a", "b")]

    with pytest.raises(InputError):
        stages(1, fail=True)
    assert stages(1) == [{"name": "a"}, {"name": "b"}]
    assert stages(1) == [{"name": "a"}, {"name": "b"}]
    assert ran == ["a", "b"]
    stages(2)
    assert ran == ["a", "b", "a", "b"]
