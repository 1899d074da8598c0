"""best-of-n on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from answer_files import DRAWS, PROMPTS, answers
from json_lines import write

from pluralign.evaluate.rewards import scored
from pluralign.evaluate.rewards.best_of_n import best_of_n, normalised


def best_of_n_options(answer_files, out, **changes):
    options = {
        "--completions": answer_files["draws"], "--golden": "y", "--out": out, "--base": answer_files["base"],
        "--demonstrations": answer_files["demo"], "--greedy": answer_files["greedy"], **changes,
    }  # fmt: skip
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    return ["evaluate", "best-of-n", "--rewards", "x=x", "long=long", *given]


def test_best_of_n(run, scorers, answer_files, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*best_of_n_options(answer_files, out, **{"--json": tmp_path / "figures.json"})) == 0
    report = json.loads((out / "report.json").read_text())
    assert report == json.loads((tmp_path / "figures.json").read_text())
    assert (report["prompts"], report["samples"], report["n"]) == (3, 4, [1, 2, 3, 4])
    assert report["kl_bound"][1] == pytest.approx(np.log(2) - 0.5)
    golden = np.array([[float(t.count("y")) for t in own] for own in DRAWS])
    proxies = {
        "x": np.array([[float(t.count("x")) for t in own] for own in DRAWS]),
        "long": np.array([[float(len(t)) for t in own] for own in DRAWS]),
        "golden": golden,
    }
    assert list(report["curves"]) == list(proxies)
    for name, proxy in proxies.items():
        curve = report["curves"][name]
        expected = best_of_n(proxy, golden, np.array([1.0, 0.0, 2.0]))
        for part in ("golden", "win_rate"):
            means = [e["mean"] for e in curve[part]]
            assert means == pytest.approx([e.mean for e in getattr(expected, part)])
        ends = (np.array([0.5, 1.0, 0.0]), np.array([3.0, 4.0, 3.0]))
        scaled = normalised(expected.golden_by_prompt, *ends)
        assert [e["mean"] for e in curve["normalised"]] == pytest.approx([e.mean for e in scaled])
    assert report["golden_of"]["base"]["mean"] == pytest.approx(0.5)
    assert (out / "curves.svg").stat().st_size > 1000
    told = capsys.readouterr().out
    assert "golden (ceiling)" in told
    assert "N = 4" in told
    assert list(report["proxy_points"]) == ["x", "long"]
    assert report["proxy_points"]["long"]["n"] == 4
    assert "proxy point of long: none; the golden reward is highest at N = 4" in told
    assert "win rate" in told
    # Each text of a prompt is scored once; proxies read the draws alone, the golden reward all four files.
    opened, _ = scorers
    assert [scorer.name for scorer in opened] == ["x", "long", "y"]
    seen = [{d.prompt: d.options for call in scorer.seen for d in call} for scorer in opened]
    assert list(seen[0].values()) == [
        ("xy", "x", "", "yyy"), ("x", "xxy", "y"), ("", "yy", "xxxyy", "xy"),
    ]  # fmt: skip
    assert [len(call) for call in opened[2].seen] == [3]
    for prompt, options in seen[2].items():
        assert len(set(options)) == len(options) > len(seen[0][prompt])


def test_without_ends_there_is_no_scale(run, scorers, answer_files, tmp_path, capsys):
    bare = {"--base": None, "--demonstrations": None, "--greedy": None}
    assert run(*best_of_n_options(answer_files, tmp_path / "a", **bare)) == 0
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["curves"]["x"]["normalised"] is None
    assert report["curves"]["x"]["win_rate"] is None
    # Demonstrations below the base give none either, which is told.
    exchanged = {"--base": answer_files["demo"], "--demonstrations": answer_files["base"]}
    assert run(*best_of_n_options(answer_files, tmp_path / "b", **exchanged)) == 0
    assert "not normalised: " in capsys.readouterr().out
    assert json.loads((tmp_path / "b" / "report.json").read_text())["curves"]["x"]["normalised"] is None


def test_an_interrupted_run_continues(run, scorers, answer_files, tmp_path, monkeypatch):
    opened, limit = scorers
    # A batch for each prompt.
    monkeypatch.setattr(scored, "_BATCH", 1)
    assert run(*best_of_n_options(answer_files, tmp_path / "whole")) == 0
    whole = (tmp_path / "whole" / "rewards.jsonl").read_bytes()
    opened.clear()
    limit["y"] = 1
    out = tmp_path / "out"
    # x and long are done, and the golden reward's first prompt.
    assert run(*best_of_n_options(answer_files, out)) == 130
    assert not (out / "rewards.jsonl").exists()
    limit.clear()
    opened.clear()
    assert run(*best_of_n_options(answer_files, out)) == 0
    assert [scorer.name for scorer in opened] == ["y"]
    assert len(opened[0].seen) == 2
    assert (out / "rewards.jsonl").read_bytes() == whole
    reports = [(tmp_path / part / "report.json").read_bytes() for part in ("whole", "out")]
    assert reports[0] == reports[1]
    opened.clear()
    assert run(*best_of_n_options(answer_files, out)) == 0
    assert not opened, "what is whole is not scored again"
    answers(answer_files["greedy"], [["yx"], ["x"], ["yyyy"]])
    assert run(*best_of_n_options(answer_files, out)) == 0
    assert opened, "other answers are"


def test_messages_and_texts(run, scorers, tmp_path):
    asked = [[{"role": "user", "content": f"Q{i}"}] for i in range(2)]
    draws = answers(tmp_path / "draws.jsonl", [["x", "y"]] * 2, asked)
    replies = [[{"role": "assistant", "content": "yy"}]]
    base = answers(tmp_path / "base.jsonl", [["x"]] * 2, asked)
    demo = write(tmp_path / "demo.jsonl", [{"messages": p + replies[0]} for p in asked])
    greedy = answers(tmp_path / "greedy.jsonl", [replies] * 2, asked)
    files = {"draws": draws, "base": base, "demo": demo, "greedy": greedy}
    assert run(*best_of_n_options(files, tmp_path / "out")) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["golden_of"]["greedy"]["mean"] == report["golden_of"]["demonstrations"]["mean"] == 2.0
    opened, _ = scorers
    assert opened[2].seen[0][0].prompt == "\n\nHuman: Q0\n\nAssistant:"
    assert opened[2].seen[0][0].options == (" x", " y", " yy")


def test_preferences_are_demonstrations_too(run, scorers, answer_files, tmp_path):
    rows = [{"prompt": p, "chosen": "yyyy", "rejected": "x"} for p in PROMPTS]
    demo = write(tmp_path / "pairs.jsonl", rows)
    assert run(*best_of_n_options(answer_files, tmp_path / "out", **{"--demonstrations": demo})) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["golden_of"]["demonstrations"]["mean"] == 4.0


def test_best_of_n_refuses(refuses, run, scorers, answer_files, tmp_path):
    def complaint(**changes):
        return refuses(*best_of_n_options(answer_files, tmp_path / "out", **changes))

    ragged = answers(tmp_path / "ragged.jsonl", [["a", "b"], ["a", "b"], ["a"]])
    told = complaint(**{"--completions": ragged})
    assert "ragged.jsonl:5" in told
    assert "this one has 1, the first has 2" in told
    twice = answers(tmp_path / "twice.jsonl", [["a"], ["a"]], ["p", "p"])
    assert "twice.jsonl:2, field 'sample': sample 0 of this prompt is already in row 1" in complaint(
        **{"--completions": twice}
    )
    short = answers(tmp_path / "short.jsonl", [["y"]] * 2, PROMPTS[:2])
    told = complaint(**{"--demonstrations": short})
    assert "short.jsonl: has no answer to the prompt of row 9" in told
    assert "Say c:" in told
    many = write(tmp_path / "many.jsonl", [{"prompt": p, "completion": c} for p in PROMPTS for c in "ab"])
    assert "many.jsonl:2, field 'prompt': expected one answer" in complaint(**{"--greedy": many})
    assert "which normalise rewards, or neither" in complaint(**{"--base": None})
    assert "has one prompt" in complaint(
        **{"--completions": answers(tmp_path / "one.jsonl", [["a", "b"]], ["p"])}
    )
    assert "absent: no such folder" in complaint(**{"--golden": "absent"})
    told = complaint(**{"--golden": "nan"})
    assert "draws.jsonl:1" in told
    assert "the reward by 'golden'" in told
    for rows, message in (
        ([{"prompt": "p"}], "field 'completion': is missing"),
        (
            [{"prompt": 3, "completion": "a"}],
            "field 'prompt': expected a text or a list of messages, found 3",
        ),
        (
            [{"prompt": "p", "completion": [{"role": "a"}]}],
            "field 'completion': expected messages with a role",
        ),
        ([{"messages": [{"role": "user", "content": "a"}]}], "field 'messages': expected two messages"),
        ([{"prompt": "p", "chosen": "a"}], "field 'rejected': is missing"),
    ):
        assert message in complaint(**{"--completions": write(tmp_path / "bad.jsonl", rows)})
    for rewards, message in (
        (["x"], "expected NAME=REWARD, found 'x'"),
        (["a=x", "a=y"], "'a' is given twice"),
        (["golden=x"], "'golden' is the name"),
    ):
        given = [
            "evaluate",
            "best-of-n",
            "--completions",
            answer_files["draws"],
            "--golden",
            "y",
            "--out",
            tmp_path,
        ]
        assert message in refuses(*given, "--rewards", *rewards)


def test_real_reward_models(run, tmp_path):
    rows = [{"prompt": f"Say {a}:", "chosen": f" {a}!", "rejected": f" {a}."} for a in "abcdefgh"]
    data = write(tmp_path / "lively.jsonl", rows)
    assert run("learn", "bradley-terry", "--data", data, "--model", "tiny-random", "--out", tmp_path / "bt",
               "--training.epochs", "1", "--training.bf16", "False") == 0  # fmt: skip
    draws = answers(tmp_path / "draws.jsonl", DRAWS)
    given = [
        "evaluate",
        "best-of-n",
        "--completions",
        draws,
        "--golden",
        tmp_path / "bt",
        "--out",
        tmp_path / "o",
    ]
    assert run(*given, "--rewards", f"bt={tmp_path / 'bt'}") == 0
    curves = json.loads((tmp_path / "o" / "report.json").read_text())["curves"]
    assert curves["bt"] == curves["golden"]
    means = [e["mean"] for e in curves["bt"]["golden"]]
    assert means == sorted(means)
    assert means[0] < means[-1]
