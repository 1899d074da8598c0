"""Targets instead of weights, as a person would ask for them, on a tiny model with two planted rewards."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_lines import write

import pluralign.evaluate.rewards.scored
from pluralign.core import SteeringWeights

ENDS = {"lively": ("!", "."), "calm": (".", "!")}
TEXTS = ["!", ".", "!!", "..", " a!", " b.", " c!.", " d.!"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two opposite reward models, and samples, some of which each likes."""
    from pluralign.cli import main

    made = tmp_path_factory.mktemp("made")
    words = [f"{a}{b}" for a in "abcd" for b in "efgh"]
    for name, (good, bad) in ENDS.items():
        rows = [{"prompt": f"Say {w}:", "chosen": f" {w}{good}", "rejected": f" {w}{bad}"} for w in words]
        write(made / f"{name}.jsonl", rows)
        with pytest.raises(SystemExit) as ended:
            main(
                ["learn", "bradley-terry", "--data", str(made / f"{name}.jsonl"), "--model", "tiny-random",
                 "--out", str(made / name), "--training.bf16", "False", "--training.learning-rate", "3e-3"]
            )  # fmt: skip
        assert not ended.value.code
    rows = [
        {"prompt": f"Say {x}y:", "completion": f" {x}y{text}", "sample": i}
        for x in "abcdef"
        for i, text in enumerate(TEXTS)
    ]
    write(made / "draws.jsonl", rows)
    return made


@pytest.fixture
def options(folders):
    """The verb with all that it needs but targets and --out."""
    given = [f"{name}={folders / name}" for name in ENDS]
    return ["targets", "--completions", folders / "draws.jsonl", "--rewards", *given]


def rewards_of(out):
    """By objective, shape (prompts, samples)."""
    rows = [json.loads(line) for line in (out / "rewards.jsonl").read_text().splitlines()][1:]
    return {name: np.array([row["rewards"] for row in rows if row["scorer"] == name]) for name in ENDS}


@pytest.mark.parametrize("name", ENDS)
def test_a_target_moves_the_weight_to_its_objective(run, options, tmp_path, capsys, name):
    figures = tmp_path / "figures.json"
    assert run(*options, "--at-least", f"{name}=+0.3sd", "--out", tmp_path / "out", "--json", figures) == 0
    found = json.loads((tmp_path / "out" / "targets.json").read_text())
    assert json.loads(figures.read_text()) == found
    rewards = rewards_of(tmp_path / "out")
    assert found["targets"] == pytest.approx({name: rewards[name].mean() + 0.3 * rewards[name].std()})
    assert found["expected"][name] == pytest.approx(found["targets"][name], abs=1e-5)
    assert found["weights"] == {key: float(key == name) for key in ENDS}
    # What the file says is what the multipliers do, prompt by prompt, to both objectives.
    tilt = np.exp(found["strength"] * rewards[name])
    tilt /= tilt.sum(axis=1, keepdims=True)
    for key in ENDS:
        assert found["expected"][key] == pytest.approx((tilt * rewards[key]).sum(axis=1).mean(), abs=1e-6)
    other = next(key for key in ENDS if key != name)
    assert found["expected"][other] < found["mean"][other], "the planted rewards are opposite"
    told = capsys.readouterr().out
    assert f"steering weights: {name}=1\n" in told
    assert "free" in told
    assert str(tmp_path / "out" / "targets.json") in told


def test_both_objectives_can_have_targets(run, options, tmp_path):
    out = tmp_path / "out"
    given = ("--at-least", "lively=+0.1sd", "calm=-0.1sd")
    assert run(*options, *given, "--out", out) == 0
    found = json.loads((out / "targets.json").read_text())
    assert all(found["expected"][key] > found["targets"][key] - 1e-5 for key in ENDS)
    assert sum(found["weights"].values()) == pytest.approx(1.0)
    level = found["targets"]["lively"]
    assert run(*options, "--at-least", f"lively={level}", "calm=-1e3", "--out", out) == 0
    again = json.loads((out / "targets.json").read_text())
    assert again["targets"] == {"lively": level, "calm": -1000.0}
    assert again["weights"] == {"lively": 1.0, "calm": 0.0}


def test_what_the_samples_meet_needs_no_steering(run, options, tmp_path, capsys):
    assert run(*options, "--at-least", "lively=-0.2sd", "--out", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "targets.json").read_text())
    assert (found["weights"], found["strength"], found["reachable"]) == (None, 0.0, True)
    assert found["expected"] == pytest.approx(found["mean"])
    assert "no steering is needed" in capsys.readouterr().out


def test_what_cannot_be_reached_is_told(run, options, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*options, "--at-least", "lively=+9sd", "--out", out) == 1
    found = json.loads((out / "targets.json").read_text())
    best = rewards_of(out)["lively"].max(axis=1).mean()
    assert not found["reachable"]
    assert found["weights"] is None
    assert found["expected"]["lively"] == pytest.approx(best)
    missed = found["targets"]["lively"] - best
    assert found["shortfall"] == pytest.approx(missed / found["deviation"]["lively"])
    told = capsys.readouterr().out
    assert f"the nearest misses one by {found['shortfall']:.3f} of its standard deviations" in told
    assert f"{missed:.4f}" in told
    # Opposite wishes, each of which can be had by itself.
    assert run(*options, "--at-least", "lively=+0.9sd", "calm=+0.9sd", "--out", out) == 1
    for name in ENDS:
        assert run(*options, "--at-least", f"{name}=+0.9sd", "--out", out) == 0


def test_an_interrupted_run_continues(run, options, tmp_path, monkeypatch):
    monkeypatch.setattr("pluralign.evaluate.rewards.scored._BATCH", 16)
    more = ("--at-least", "calm=+0.3sd", "--out")
    assert run(*options, *more, tmp_path / "whole") == 0
    real, opened, left = pluralign.evaluate.rewards.scored.load_rewards, [], 4

    def load_rewards(given, *, dtype=None):
        ((name, spec),) = given.items()
        opened.append(spec)
        (scorer,) = real(given, dtype=dtype).values()
        score = scorer.score_decisions

        def limited(decisions):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return score(decisions)

        scorer.score_decisions = limited
        return {name: scorer}

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("pluralign.evaluate.rewards.scored.load_rewards", load_rewards)
        assert run(*options, *more, out) == 130
        assert not (out / "targets.json").exists()
        # Of three batches of each, the second model has two to go.
        opened.clear()
        left = 2
        assert run(*options, *more, out) == 0
        assert len(opened) == 1
    for name in ("rewards.jsonl", "targets.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_bad_input_is_one_line(refuses, options, folders, tmp_path):
    out = ("--out", tmp_path / "out")
    for level in ("high", "0.5sd", "+sd", "+infsd", "nan", "inf", "sd"):
        assert f"expected a number, or standard deviations as in +0.5sd; found '{level}'" in refuses(
            *options, "--at-least", f"lively={level}", *out
        )
    assert "'loud' has no reward; there are lively, calm" in refuses(*options, "--at-least", "loud=1", *out)
    assert "expected NAME=LEVEL, found 'lively'" in refuses(*options, "--at-least", "lively", *out)
    assert "'calm' is given twice" in refuses(*options, "--at-least", "calm=1", "calm=2", *out)
    aim = ("--at-least", "lively=1")
    rest = [*options[3:], *aim, *out]
    assert "none.jsonl" in refuses("targets", "--completions", tmp_path / "none.jsonl", *rest)
    single = write(tmp_path / "single.jsonl", [{"prompt": p, "completion": "a"} for p in "xyz"])
    told = refuses("targets", "--completions", single, *rest)
    assert "single.jsonl: has one sample per prompt" in told
    assert not (tmp_path / "out").exists()
    lost = ("targets", "--completions", folders / "draws.jsonl", "--rewards", f"lively={folders}")
    assert "holds no finished training" in refuses(*lost, *aim, *out)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=7))
def test_weights_are_given_as_they_are_taken(shares):
    exact = SteeringWeights({f"o{i}": share / sum(shares) for i, share in enumerate(shares)})
    read = SteeringWeights.parse(exact.to_text())
    assert {name: read.get(name, 0.0) for name in exact} == pytest.approx(dict(exact), abs=1e-4)


def test_ceilings_and_equations(run, options, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    exact = (*options, "--exactly", "lively=+0.2sd", "--out", tmp_path / "exact", "--json", figures)
    assert run(*exact) == 0
    told = capsys.readouterr().out
    assert "= " in told
    found = json.loads(figures.read_text())
    assert found["expected"]["lively"] == pytest.approx(found["equations"]["lively"], abs=1e-3)
    weights = SteeringWeights(found["weights"])
    from pluralign.steer.suggest import constant_weights

    assert constant_weights(f"auto:{tmp_path / 'exact'}") == weights
    assert run(*options, "--at-most", "lively=-0.2sd", "--out", tmp_path / "most") == 0
    assert "to be lowered: lively" in capsys.readouterr().out
    assert json.loads((tmp_path / "most" / "targets.json").read_text())["weights"] is None
    assert run(*options, "--out", tmp_path / "none") == 2
    assert "give at least one target" in capsys.readouterr().err
