"""Golden scores of policies, on the command line."""

import json

import numpy as np
import pytest

from pluralign.core import OptionRewards
from pluralign.core.messages import dialogue

PROMPTS = [f"Say {letter}:" for letter in "abcdef"]


class Counter:
    """The golden reward: exclamation marks."""

    name, counts = "marks", {}

    def render(self, messages, opens):
        return dialogue(messages, opens)

    def score_decisions(self, decisions):
        counted = [np.array([float(text.count("!")) for text in d.options]) for d in decisions]
        return [OptionRewards(values, np.zeros_like(values)) for values in counted]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pluralign.evaluate.rewards.scored.load_rewards",
        lambda given, *, dtype=None: {name: Counter() for name in given},
    )

    def write(name, marks, prompts=PROMPTS):
        rows = [
            {"prompt": p, "completion": "x" + "!" * count, "sample": i}
            for p in prompts
            for i, count in enumerate(marks)
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_base_is_nought_and_demonstrations_are_one(files, run, tmp_path, capsys):
    policies = [f"sft={files('sft', [2, 4])}", f"spin={files('spin', [5])}"]
    ends = ("--base", files("base", [1]), "--demonstrations", files("demo", [5]))
    out = tmp_path / "out"
    assert run("evaluate", "golden", "--sources", *policies, "--golden", "g", *ends, "--out", out) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["normalised"]["sft"]["mean"] == pytest.approx(0.5)
    assert report["normalised"]["spin"]["mean"] == pytest.approx(1.0)
    assert report["above_sft"]["spin"]["mean"] == pytest.approx(2.0)
    assert report["rewards"]["base"]["mean"] == 1.0
    picture = (out / "scores.svg").read_text()
    assert "spin" in picture
    told = capsys.readouterr().out
    assert "base 0, demonstrations 1" in told


def test_a_golden_reward_below_the_base_gives_no_scale(files, run, tmp_path, capsys):
    ends = ("--base", files("base", [3]), "--demonstrations", files("demo", [1]))
    arguments = ("--sources", f"sft={files('sft', [2])}", "--golden", "g", *ends, "--out", tmp_path / "out")
    assert run("evaluate", "golden", *arguments) == 0
    assert "not normalised" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["normalised"] is None


def test_what_does_not_fit_is_told(files, refuses, tmp_path):
    ends = ("--base", files("base", [1]), "--demonstrations", files("demo", [5], PROMPTS[1:]))
    rest = ("--golden", "g", *ends, "--out", tmp_path / "out")
    assert "has no answer to the prompt" in refuses(
        "evaluate", "golden", "--sources", f"a={files('a', [1])}", *rest
    )
    assert "end of the scale" in refuses("evaluate", "golden", "--sources", f"base={files('a', [1])}", *rest)
    assert "NAME=FILE" in refuses("evaluate", "golden", "--sources", "a", *rest)
    assert not (tmp_path / "out").exists()
