"""MACHIAVELLI's trajectories through the verbs: in, annotated, learned from, and measured."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import pytest
from machiavelli_episodes import ANNOTATIONS, OPENING, noted

from pluralign.core.records import read_header, read_pairs, read_trajectories
from pluralign.games.harms import VIOLATIONS

MODEL = "tiny-random"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random episodes, one in a line; a liar's, one in a file; and the annotations of the game."""
    folder = tmp_path_factory.mktemp("theirs")
    lots = random.Random(0)
    played = [noted("random", n, (lots.randrange(3), lots.randrange(2))) for n in range(60)]
    (folder / "random.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in played))
    for n in range(4):
        (folder / f"liar{n}.json").write_text(json.dumps(noted("liar", n, (1, n % 2)), indent=1))
    (folder / "game_data" / "annotations_clean").mkdir(parents=True)
    scenes = {"version": 0.5, "scenes": ANNOTATIONS}
    (folder / "game_data" / "annotations_clean" / "gate.json").write_text(json.dumps(scenes))
    return folder


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    """Both policies' trajectories.jsonl."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("ours")
    given = {"random": [files / "random.jsonl"], "liar": sorted(files.glob("liar*.json"))}
    for name, own in given.items():
        out = ("--out", folder / f"{name}.jsonl", "--json", folder / f"{name}.json")
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in ("trajectories", "import", *own, "--game-data", files / "game_data", *out)])
        assert not ended.value.code
    return folder


def test_what_was_imported(imported):
    header = read_header(imported / "random.jsonl", "trajectories")
    assert (header["story"], header["policy"], header["max_points"]) == ("gate", "random", {"gate": 50.0})
    trajectories = read_trajectories(imported / "random.jsonl")
    assert len(trajectories) == 60
    assert header["first_decision"] == trajectories[0].steps[0].decision.key
    by_action = {t.steps[0].action: t.steps[0] for t in trajectories}
    assert by_action[0].counts == {}
    assert by_action[1].counts == {"points": 10.0, "violations.deception": 1.0}
    # Two votes of 0.4 stay below the threshold.
    assert by_action[2].counts == {"points": 20.0, "violations.deception": 1.0}
    assert by_action[2].decision.options == OPENING[1]
    assert by_action[2].decision.prompt == OPENING[0]
    figures = json.loads((imported / "random.json").read_text())
    assert (figures["trajectories"], figures["games"], figures["steps"]) == (60, {"gate": 60}, 120)
    assert (figures["counts"], figures["last_steps"]) == ("nodes", {"points": 60})


def test_sums_and_the_originals_counts(run, files, tmp_path, capsys):
    out = tmp_path / "t.jsonl"
    assert run("trajectories", "import", files / "random.jsonl", "--out", out) == 0
    assert "60 of 60 trajectories: the last step's points are known" in capsys.readouterr().out
    climbed = next(t for t in read_trajectories(out) if t.steps[0].action == 2)
    summed = {"violations.deception": 1.0, "violations.trespassing": 1.0, "violations.spying": 0.0}
    assert climbed.steps[0].counts == {"points": 20.0, **{k: v for k, v in summed.items() if v}}
    compatible = ("--compatible", "True")
    assert run("trajectories", "import", files / "random.jsonl", *compatible, "--out", out) == 0
    climbed = next(t for t in read_trajectories(out) if t.steps[0].action == 2)
    assert climbed.counts() == {"points": 20.0, "violations.deception": 2.0, "violations.trespassing": 2.0}


def test_policies_are_learned_from_it(imported, run, tmp_path):
    data = imported / "random.jsonl"
    tiny = ("--model", MODEL, "--config.steps", 40)
    assert run("learn", "bc", "--data", data, "--out", tmp_path / "bc", *tiny) == 0
    for name in ("score", "harm_avoidance"):
        annotations, pairs = tmp_path / f"{name}.jsonl", tmp_path / f"{name}-pairs.jsonl"
        asked = ("--objective", name, "--rater", "oracle", "--comparisons.count", 200)
        assert run("annotate", data, *asked, "--out", annotations) == 0
        assert run("pair", annotations, "--objective", name, "--out", pairs) == 0
    chosen = [pair.chosen.steps[0] for pair in read_pairs(tmp_path / "harm_avoidance-pairs.jsonl")]
    opened = [step.action for step in chosen if step.decision.options == OPENING[1]]
    assert opened
    assert set(opened) == {0}
    learned = ("learn", "cpl", "--data", tmp_path / "score-pairs.jsonl", "--out", tmp_path / "cpl")
    assert run(*learned, *tiny) == 0


def test_harms_by_the_random_agent(imported, run, tmp_path, capsys):
    figures = tmp_path / "f.json"
    played = [f"{name}={imported / name}.jsonl" for name in ("random", "liar")]
    capsys.readouterr()
    assert run("evaluate", "harms", *played, "--json", figures) == 0
    told = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert (found["games"], found["episodes"]) == ({"gate": 50.0}, {"random": 60, "liar": 4})
    lied = found["raw"]["random"]["violations.deception"]["mean"]
    assert found["raw"]["liar"]["score"]["mean"] == pytest.approx((10 + 2.5) / 50 * 100)
    assert found["raw"]["liar"]["violations.deception"]["mean"] == 1.0
    assert found["normalised"]["liar"]["violations.deception"]["mean"] == pytest.approx(100 / lied)
    assert found["normalised"]["random"]["violations"]["mean"] == pytest.approx(100.0)
    assert found["normalised"]["liar"]["violations.killing"] == {"mean": 0, "stderr": 0, "low": 0, "high": 0}
    assert "1 games; episodes: random 60, liar 4" in told
    assert f"{100 / lied:.2f} ({100 / lied:.2f} to" in told
    assert run("evaluate", "harms", *played, "--z-scores", "True", "--json", figures) == 0
    scores = json.loads(figures.read_text())["normalised"]
    assert scores["liar"]["violations.deception"]["mean"] < 0
    assert scores["random"]["violations.deception"]["mean"] == pytest.approx(0.0)


def test_harms_by_coefficients(imported, run, refuses, tmp_path, capsys):
    names = ("game.score", "violations.Σ", *(f"violations.{label}" for label in VIOLATIONS))
    table = {"gate": {name: {"mean": 0.5, "stddev": 0.25, "n_samples": 1000} for name in names}}
    (tmp_path / "c.json").write_text(json.dumps(table))
    figures = tmp_path / "f.json"
    liar = f"liar={imported / 'liar.jsonl'}"
    given = ("evaluate", "harms", liar, "--coefficients", tmp_path / "c.json", "--json", figures)
    assert run(*given) == 0
    assert json.loads(figures.read_text())["normalised"]["liar"]["violations.deception"]["mean"] == 200.0
    assert "in per cent of" in capsys.readouterr().out
    assert run(*given, "--z-scores", "True", "--weigh", "episodes") == 0
    found = json.loads(figures.read_text())
    assert found["normalised"]["liar"]["violations.deception"]["mean"] == -2.0
    assert found["weigh"] == "episodes"
    assert "the random agent 'random' is not among the policies: liar" in refuses("evaluate", "harms", liar)
    assert "given twice" in refuses("evaluate", "harms", liar, liar)
    assert "expected NAME=FILE, found 'liar'" in refuses("evaluate", "harms", "liar")
    (tmp_path / "c.json").write_text("{}")
    assert "field 'gate': expected the game's coefficients" in refuses(*given)


def test_attainable_points(run, refuses, story, tmp_path):
    """Files say them; what is given comes first."""
    for name, given in (("toll", story), ("ledger", "salt_ledger")):
        arguments = ("collect", "--story", given, "--policy", "random", "--episodes", 6)
        assert run(*arguments, "--out", tmp_path / f"{name}.jsonl") == 0
    toll = ("evaluate", "harms", f"random={tmp_path / 'toll.jsonl'}")
    both = (*toll, f"random={tmp_path / 'ledger.jsonl'}", "--json", tmp_path / "f.json")
    assert run(*both) == 0
    assert json.loads((tmp_path / "f.json").read_text())["games"] == {"salt_ledger": 1000.0, "toll": 100.0}
    assert run(*both, "--max-points", "toll=50") == 0
    assert json.loads((tmp_path / "f.json").read_text())["games"]["toll"] == 50.0
    assert "expected toll=POINTS, 0 or more; found '-1'" in refuses(*toll, "--max-points", "toll=-1")
    header, *rows = (tmp_path / "toll.jsonl").read_text().splitlines(keepends=True)
    silent = {name: value for name, value in json.loads(header).items() if name != "max_points"}
    (tmp_path / "old.jsonl").write_text("".join([json.dumps(silent) + "\n", *rows]))
    old = ("evaluate", "harms", f"random={tmp_path / 'old.jsonl'}")
    assert "no file has the attainable points of 'toll'; give --max-points toll=POINTS" in refuses(*old)


def test_bad_imports_are_refused(files, run, refuses, tmp_path):
    out = ("--out", tmp_path / "t.jsonl")
    known = files / "liar0.json"
    assert "expected at least one file" in refuses("trajectories", "import", *out)
    assert "'gate-liar-000' was read before" in refuses("trajectories", "import", known, known, *out)
    pickled = tmp_path / "one.pkl"
    pickled.write_bytes(pickle.dumps(noted("a", 1, (0, 0))))
    assert "is a pickle, which may run code" in refuses("trajectories", "import", pickled, *out)
    both = ("--compatible", "True", "--game-data", files / "game_data")
    assert "cannot be combined with --game-data" in refuses("trajectories", "import", known, *both, *out)
    other = tmp_path / "other.json"
    changed = noted("liar", 9, (0, 0))
    for info in changed["info_list"]:
        info["max_points"] = 60
    other.write_text(json.dumps(changed))
    assert "'gate' has 50 points in other trajectories, and 60 in" in refuses(
        "trajectories", "import", known, other, *out
    )
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "not JSON" in refuses("trajectories", "import", tmp_path / "empty.jsonl", *out)
    assert "unknown objective 'fame'" in refuses(
        "trajectories", "import", known, "--objectives", "fame", *out
    )
    assert not (tmp_path / "t.jsonl").exists()


def test_several_games_go_into_one_file(files, run, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps(noted("liar", 9, (0, 1), game="wall")))
    out = tmp_path / "t.jsonl"
    assert run("trajectories", "import", files / "liar0.json", tmp_path / "other.json", "--out", out) == 0
    header = read_header(out, "trajectories")
    assert header["story"] == ["gate", "wall"]
    assert header["max_points"] == {"gate": 50.0, "wall": 50.0}
    assert [t.source for t in read_trajectories(out)] == ["gate", "wall"]
