"""From samples to guided samples on the command line: generate, score, learn value, generate --guides."""

from __future__ import annotations

import json

import pytest
from json_lines import rows_of, write
from scipy.stats import ttest_ind

from pluralign.cli import main

MODEL = "tiny-random"
WORDS = [a + b for a in "abcde" for b in "klmn"]
EXACT = ("--model", MODEL, "--training.bf16", "False")
QUICK = (*EXACT, "--training.epochs", "3", "--training.learning-rate", "3e-3")
LONGER = (*EXACT, "--training.epochs", "12", "--training.learning-rate", "1e-2")
DRAW = ("--max-new-tokens", 5, "--dtype", "float32")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A policy of both endings, a reward of one of them, samples with their rewards, and two value models."""
    folder = tmp_path_factory.mktemp("place")
    rows = [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" {w}."} for w in WORDS]
    pairs = write(folder / "pairs.jsonl", rows)
    shown = write(
        folder / "shown.jsonl",
        [
            {"prompt": row["prompt"], "completion": row[half]}
            for row in rows
            for half in ("chosen", "rejected")
        ],
    )
    drawn, scored = folder / "drawn.jsonl", folder / "lively.jsonl"
    for arguments in (
        ("learn", "sft", "--data", shown, "--out", folder / "policy", *LONGER),
        ("learn", "bradley-terry", "--data", pairs, "--out", folder / "reward", *QUICK),
        ("generate", "--model", folder / "policy", "--prompts", pairs, "--samples", 12, "--out", drawn,
         *DRAW),
        ("score", "--model", folder / "reward", "--data", drawn, "--out", scored),
        ("learn", "value", "--data", scored, "--out", folder / "lively", *LONGER, "--training.lora-rank", 8,
         "--json", folder / "figures.json"),
        ("learn", "value", "--data", scored, "--out", folder / "classes", *QUICK,
         "--training.layers", 0, "--loss", "hl-gauss", "--bins", 21, "--lam", 1.0),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert not ended.value.code, arguments
    return folder


def generate(place, out, *more, model=MODEL):
    return ("generate", "--model", model, "--prompts", place / "pairs.jsonl", "--samples", 2, "--out", out,
            *DRAW, *more)  # fmt: skip


def test_the_folder_says_what_it_is(place):
    card = json.loads((place / "lively" / "card.json").read_text())
    assert (card["pluralign"], card["method"], card["objective"]) == ("value_model", "value", "lively")
    assert card["rewards"]["deviation"] > 0
    assert card["config"]["lam"] == 0.95
    figures = json.loads((place / "figures.json").read_text())["figures"]
    assert figures["validation_explained_variance_last_token"] <= 1
    other = json.loads((place / "classes" / "card.json").read_text())
    assert other["head"]["bins"]["count"] == other["config"]["classes"]["bins"] == 21


def test_guided_samples_say_how_they_were_guided(place, run, tmp_path):
    guides = (f"lively={place / 'lively'}", f"other={place / 'classes'}")
    out = tmp_path / "g.jsonl"
    asked = generate(place, out, "--guides", *guides, "--weights", "lively=0.75,other=0.25", "--strength", 4,
                     "--candidates", 9)  # fmt: skip
    assert run(*asked) == 0
    rows = rows_of(out)
    assert len(rows) == 2 * len(WORDS)
    assert rows[0]["guides"] == {"lively": str(place / "lively"), "other": str(place / "classes")}
    assert rows[0]["weights"] == {"lively": 0.75, "other": 0.25}
    assert (rows[0]["strength"], rows[0]["candidates"]) == (4, 9)
    plain = tmp_path / "p.jsonl"
    assert run(*generate(place, plain)) == 0
    assert [row["completion"] for row in rows] != [row["completion"] for row in rows_of(plain)]
    assert "guides" not in rows_of(plain)[0]
    # No strength is the model as it is.
    none = tmp_path / "n.jsonl"
    assert run(*generate(place, none, "--guides", *guides, "--strength", 0)) == 0
    assert [row["completion"] for row in rows_of(none)] == [row["completion"] for row in rows_of(plain)]


def test_guided_samples_are_worth_more(place, run, tmp_path):
    rewards = []
    for name, more in (
        ("plain", ()),
        ("guided", ("--guides", f"lively={place / 'lively'}", "--strength", 3)),
    ):
        drawn, scored = tmp_path / f"{name}.jsonl", tmp_path / f"{name}-scored.jsonl"
        assert run(*generate(place, drawn, *more, model=place / "policy")) == 0
        assert run("score", "--model", place / "reward", "--data", drawn, "--out", scored) == 0
        rewards.append([row["rewards"]["completion"]["reward"] for row in rows_of(scored)])
    assert ttest_ind(rewards[1], rewards[0], alternative="greater").pvalue < 0.001


def test_an_interrupted_run_goes_on(place, run, tmp_path, monkeypatch):
    from pluralign.core.resumable import RowsInProgress
    from pluralign.steer import writers as module

    monkeypatch.setattr(module, "_BATCH", 10)
    guides = ("--guides", f"lively={place / 'lively'}")
    assert run(*generate(place, tmp_path / "whole.jsonl", *guides)) == 0
    written, calls = RowsInProgress.write, []

    def dies(self, rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        written(self, rows)

    monkeypatch.setattr(RowsInProgress, "write", dies)
    assert run(*generate(place, tmp_path / "cut.jsonl", *guides)) == 130
    monkeypatch.setattr(RowsInProgress, "write", written)
    assert run(*generate(place, tmp_path / "cut.jsonl", *guides)) == 0
    assert rows_of(tmp_path / "cut.jsonl") == rows_of(tmp_path / "whole.jsonl")


def test_bad_input_is_one_line(place, refuses, tmp_path):
    value, out = f"lively={place / 'lively'}", tmp_path / "x.jsonl"
    for more, told in (
        (("--weights", "lively=1"), "field 'weights': requires --guides"),
        (("--strength", 2), "field 'strength': requires --guides"),
        (("--candidates", 2), "field 'candidates': requires --guides"),
        (("--guides", "lively"), "field 'guides': expected NAME=DIR"),
        (("--guides", value, "--weights", "other=1"), "unknown objective 'other'"),
        (("--guides", value, "--strength", -1), "field 'strength': must be 0 or more"),
        (("--guides", value, "--candidates", 0), "field 'candidates': must be at least 1"),
        (("--guides", f"a={tmp_path / 'nowhere'}"), "no such folder"),
        (
            ("--guides", f"a={place / 'reward'}"),
            "holds a reward model (method 'bradley-terry'); expected a value model",
        ),
    ):
        assert told in refuses(*generate(place, out, *more))
    assert "does not provide logits" in refuses(
        "generate", "--model", "openai:x", "--prompts", place / "pairs.jsonl", "--out", out, "--guides", value
    )
    rows = write(tmp_path / "plain.jsonl", [{"prompt": "a", "completion": "b"}])
    learn = ("learn", "value", *QUICK, "--out", tmp_path / "v", "--data")
    assert "plain.jsonl:1, field 'reward': expected a finite number" in refuses(*learn, rows)
    # Their deviation is not 0, but what the mean of equal numbers is rounded by.
    equal = write(
        tmp_path / "equal.jsonl", [{"prompt": str(i), "completion": "b", "reward": 0.1} for i in range(8)]
    )
    assert "training rewards are 0.1: there is nothing to learn" in refuses(*learn, equal)
    assert "field 'lam': must be at most 1" in refuses(*learn, place / "lively.jsonl", "--lam", 2)
    assert not out.exists()
