"""win-rate and separation on the command line, and the help of verbs about completions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from answer_files import PROMPTS, answers
from json_lines import rows_of


def win_rate(files, rater):
    return ["evaluate", "win-rate", "--a", files["demo"], "--b", files["greedy"], "--rater", rater]


def test_win_rate_by_a_reward(run, scorers, answer_files, tmp_path, capsys):
    given = win_rate(answer_files, "reward:x")
    assert run(*given, "--json", tmp_path / "a.json", "--out", tmp_path / "ratings.jsonl") == 0
    figures = json.loads((tmp_path / "a.json").read_text())
    # x in A: 1, 0, 2; in B: 1, 1, 0.
    assert [figures[part]["mean"] for part in ("win", "tie", "lose")] == pytest.approx([1 / 3] * 3)
    assert (figures["difference"]["mean"], figures["prompts"], figures["contradictions"]) == (0.0, 3, None)
    rows = rows_of(tmp_path / "ratings.jsonl")
    assert [row["preference"] for row in rows] == ["tie", "second", "first"]
    assert rows[0] == {
        "prompt": "Say a:", "a": "xyyy", "b": "yx", "preference": "tie", "info": {"rewards": [1.0, 1.0]},
    }  # fmt: skip
    told = capsys.readouterr().out
    assert "win - lose: +0.000" in told
    assert "contradicts" not in told


def test_win_rate_by_a_judge_asks_in_both_orders(run, answer_files, tmp_path, capsys):
    given = win_rate(answer_files, "judge:tiny-random")
    harmless = ["--objective", "harmless"]
    assert run(*given, *harmless, "--out", tmp_path / "r.jsonl") == 0
    assert "contradicts itself between orders on" in capsys.readouterr().out
    rows = rows_of(tmp_path / "r.jsonl")
    agree = [row["info"]["answers"][0] == row["info"]["answers"][1] for row in rows]
    assert [row["preference"] != "tie" for row in rows] == agree
    assert run(*given, *harmless, "--decide", "mean", "--out", tmp_path / "m.jsonl") == 0
    for row in rows_of(tmp_path / "m.jsonl"):
        assert row["preference"] == ("first" if sum(row["info"]["log_odds"]) > 0 else "second")


def test_win_rate_refuses(refuses, scorers, answer_files, tmp_path):
    assert "unknown rater 'oracle'" in refuses(*win_rate(answer_files, "oracle"), "--objective", "harmless")
    judged = win_rate(answer_files, "judge:tiny-random")
    assert "field 'objective'" in refuses(*judged)
    assert "field 'description'" in refuses(*judged, "--objective", "kind")
    short = answers(tmp_path / "short.jsonl", [["y"]], PROMPTS[:1])
    given = ["evaluate", "win-rate", "--a", answer_files["demo"], "--rater", "reward:x", "--b"]
    assert "has no answer to the prompt of row 2" in refuses(*given, short)
    assert "expected one answer" in refuses(*given, answer_files["draws"])
    assert "not numbers" in refuses(*win_rate(answer_files, "reward:nan"))


def test_separation(run, scorers, answer_files, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["evaluate", "separation", "--rewards", "x=x", "y=y", "--out", out]
    sources = ["--sources", *(f"{name}={answer_files[name]}" for name in ("base", "draws", "demo"))]
    assert run(*given, *sources, "--json", tmp_path / "a.json") == 0
    report = json.loads((out / "report.json").read_text())
    assert report == json.loads((tmp_path / "a.json").read_text())
    found = {(s["first"], s["second"]): s["auc"]["mean"] for s in report["separation"]["y"]}
    assert list(found) == [("base", "draws"), ("base", "demo"), ("draws", "demo")]
    assert found["base", "demo"] == 1.0
    # y in base and draws: (0,1 | 1,0,0,3), (1,1 | 0,0,1,1), (0,0 | 0,2,2,1)
    by_prompt = [(2 * 0.5 + 1 + 0.5 + 1 + 1) / 8, (0.5 * 4) / 8, (0.5 * 2 + 6) / 8]
    assert found["base", "draws"] == pytest.approx(np.mean(by_prompt))
    assert (out / "separation.svg").stat().st_size > 1000
    assert "base < draws" in capsys.readouterr().out


def test_separation_by_style(run, scorers, tmp_path, capsys):
    texts = [["I can't say x. Yes.", "X and X!"], ["It's all x.", "No x. No."], ["none", "none"]]
    source = answers(tmp_path / "a.jsonl", texts)
    given = ["evaluate", "separation", "--rewards", "X=X", "long=long", "--out", tmp_path / "out"]
    assert run(*given, "--sources", f"a={source}", "--styles", True) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())["separation"]
    found = {name: {s["second"]: s for s in own} for name, own in report.items()}
    # Lower case costs one answer of the first prompt its X, and leaves the other three changed ones alone.
    assert found["X"]["lower case"]["auc"]["mean"] == pytest.approx((0.25 + 0.5) / 2)
    assert found["X"]["lower case"]["left_out"] == 2
    assert found["long"]["no final punctuation"]["auc"]["mean"] == 0.0
    assert found["long"]["leading newline"]["auc"]["mean"] == 1.0
    assert "contractions" not in found["X"]
    told = capsys.readouterr().out
    assert "'contractions' changes answers to 0 prompts and is left out" in told
    assert "the same text in another style" in told


def test_separation_refuses(refuses, scorers, answer_files, tmp_path):
    given = ["evaluate", "separation", "--rewards", "x=x", "--out", tmp_path / "out", "--sources"]
    assert "field 'sources': expected two or more" in refuses(*given, f"a={answer_files['base']}")
    assert "expected NAME=FILE" in refuses(*given, answer_files["base"])
    elsewhere = answers(tmp_path / "other.jsonl", [["a"]], ["p"])
    told = refuses(*given, f"a={answer_files['base']}", f"b={elsewhere}")
    assert "'a' and 'b' share 0 prompts" in told


@pytest.mark.parametrize("verb", ["best-of-n", "win-rate", "separation"])
def test_help_has_an_example(run, verb, capsys):
    assert run("evaluate", verb, "--help") == 0
    assert f"pluralign evaluate {verb} --" in " ".join(capsys.readouterr().out.split())
