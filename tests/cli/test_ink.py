"""The verbs on an Ink story: chance plays a part in it, so that there is no exact front."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from pluralign.core.records import read_trajectories
from pluralign.evaluate.report.model import read_report
from pluralign.games.ink.check import check_ink
from pluralign.games.open import open_story
from pluralign.options.open import Models, open_policy
from pluralign.serve.story import StoryPlayer

STORIES = Path(__file__).parents[1] / "games" / "ink_stories"
MODEL = "tiny-random"
OBJECTIVES = {
    "wealth": {"description": "The player grows rich.", "coefficients": {"variable.gold": 1}},
    "trust": {"description": "The ferryman trusts the player.", "coefficients": {"variable.trusted": 1}},
}


@pytest.fixture(scope="module")
def ink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A story with its side file beside it: a fare paid costs two gold, and is all that wins trust."""
    folder = tmp_path_factory.mktemp("ink")
    shutil.copy(STORIES / "ferry.json", folder)
    (folder / "ferry.pluralign.json").write_text(json.dumps({"objectives": OBJECTIVES, "max_options": 4}))
    return folder / "ferry.json"


@pytest.fixture(scope="module")
def learned(ink, tmp_path_factory):
    """Everything up to two policies, made by the verbs."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("runs")

    def do(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert not ended.value.code, arguments

    do("collect", "--story", ink, "--policy", "random", "--episodes", 200, "--objectives", "wealth", "trust",
       "--out", folder / "t.jsonl")  # fmt: skip
    for name in OBJECTIVES:
        annotations, pairs = folder / f"{name}.jsonl", folder / f"{name}-pairs.jsonl"
        do("annotate", folder / "t.jsonl", "--objective", name, "--rater", "oracle",
           "--comparisons.count", 600, "--out", annotations)  # fmt: skip
        do("pair", annotations, "--objective", name, "--ties", "soft", "--out", pairs)
        do("learn", "cpl", "--data", pairs, "--model", MODEL, "--out", folder / name,
           "--config.steps", 150, "--config.learning-rate", 0.01)  # fmt: skip
    return folder


def test_the_sweep_moves_both_variables_without_an_exact_front(learned, run, ink, tmp_path, capsys):
    out = tmp_path / "sweep"
    folders = (f"wealth={learned / 'wealth'}", f"trust={learned / 'trust'}")
    arguments = ("sweep", "--policies", *folders, "--story", ink, "--steps", 2, "--episodes", 60)
    assert run(*arguments, "--out", out, "--json", tmp_path / "f.json") == 0
    told = capsys.readouterr().out
    assert "no exact front: 'ferry' draws random numbers" in told
    assert "hypervolume" not in told
    report = read_report(out / "report.json")
    low, high = report.sweep[0], report.sweep[-1]
    assert high.returns["wealth"] > low.returns["wealth"] + 1
    assert low.returns["trust"] > high.returns["trust"] + 0.5
    assert (report.hypervolume_ratio, report.exact_front, dict(report.best)) == (None, (), {})
    assert report.has_violations
    assert "states cannot be explored" in (out / "report.html").read_text()
    assert json.loads((tmp_path / "f.json").read_text())["hypervolume_ratio"] is None


def test_what_was_recorded(learned):
    counts = {metric for t in read_trajectories(learned / "t.jsonl") for metric in t.counts()}
    assert {"variable.gold", "variable.trusted", "points", "violations.trespassing"} <= counts


def test_a_steered_policy_plays(learned, run, ink, tmp_path):
    both = ("--policies", f"wealth={learned / 'wealth'}", f"trust={learned / 'trust'}")
    play = ("evaluate", "play", "--story", ink, "--episodes", 40, "--objectives", "wealth", "trust")
    assert run(*play, *both, "--weights", "wealth=0,trust=1", "--json", tmp_path / "f.json") == 0
    assert json.loads((tmp_path / "f.json").read_text())["returns"]["trust"]["mean"] > 0.9


def test_the_page_serves_it(learned, ink):
    policies = {name: open_policy(str(learned / name), Models(MODEL)) for name in OBJECTIVES}
    table = StoryPlayer(open_story(str(ink)).make_game, policies)
    answer = asyncio.run(table.answer({"actions": [0], "steering_weights": {"wealth": 0.5, "trust": 0.5}}))
    assert answer["returns"] == {"wealth": -2.0, "trust": 1.0}
    assert answer["options"][1] == "Row yourself."
    assert sum(answer["mixed"]) == pytest.approx(1.0)


def test_games_are_shown_checked_and_played(run, capsys, monkeypatch, tmp_path, ink, refuses):
    figures = tmp_path / "f.json"
    assert run("games", "show", ink, "--objectives", "wealth", "trust", "--json", figures) == 0
    shown = json.loads(figures.read_text())
    assert (shown["choices"], shown["objectives"]) == (8, ["wealth", "trust"])
    assert shown["random"][1] == pytest.approx(0.5, abs=0.1)
    assert "exact_front" not in shown
    assert "no exact front: '" in capsys.readouterr().out
    assert run("games", "show", STORIES / "toll.json", "--json", figures) == 0
    assert json.loads(figures.read_text())["worst"] == [0.0, -1.0]
    assert run("games", "check", ink) == 0
    # Each of its episodes runs into the limit of lines.
    monkeypatch.setattr("pluralign.games.check.check_ink", partial(check_ink, episodes=3))
    assert run("games", "check", STORIES / "chatter.json", "--json", figures) == 1
    assert "chatter.json: no choice after 10000 lines" in capsys.readouterr().out
    assert "compile it first" in refuses("games", "check", STORIES / "ferry.ink")
    assert "compile it first" in refuses(
        "collect", "--story", STORIES / "ferry.ink", "--policy", "random", "--out", tmp_path / "t"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n4\n1\n"))
    assert run("games", "play", ink, "--objectives", "wealth", "trust") == 0
    assert "The end. wealth 1, trust 1" in capsys.readouterr().out


def test_endless_episodes_are_cut_off_and_told(run, capsys, ink, tmp_path):
    arguments = ("--story", ink, "--policy", "random", "--episodes", 20, "--max-steps", 2)
    assert run("collect", *arguments, "--out", tmp_path / "t.jsonl") == 0
    assert "20 episodes were truncated after 2 steps" in capsys.readouterr().out
