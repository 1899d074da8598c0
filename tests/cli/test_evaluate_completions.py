"""best-of-n, win-rate and separation on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from json_lines import rows_of, write

import pluralign.evaluate.rewards.scored
from pluralign.core import OptionRewards
from pluralign.core.messages import dialogue
from pluralign.evaluate.rewards.best_of_n import best_of_n, normalised

PROMPTS = ["Say a:", "Say b:", "Say c:"]


class Scorer:
    """Counts a letter; "nan" gives none; after ``calls`` calls it is interrupted."""

    def __init__(self, spec, calls=None):
        self.name, self.calls, self.seen, self.counts = spec, calls, [], {}

    def render(self, messages, opens):
        return dialogue(messages, opens)

    def score_decisions(self, decisions):
        if self.calls is not None and len(self.seen) >= self.calls:
            raise KeyboardInterrupt
        known = list(decisions)
        self.seen.append(known)
        value = {"nan": lambda text: np.nan, "long": len}.get(self.name, lambda text: text.count(self.name))
        found = [np.array([float(value(option)) for option in d.options]) for d in known]
        return [OptionRewards(mean, np.zeros_like(mean)) for mean in found]


@pytest.fixture
def scorers(monkeypatch):
    """Those that are opened, and how many calls the next ones answer."""
    opened = []
    limit = {}

    def load_reward(spec, *, dtype=None):
        if spec == "absent":
            raise pluralign.core.InputError("no such folder", path=spec)
        opened.append(Scorer(spec, limit.get("calls")))
        return opened[-1]

    monkeypatch.setattr("pluralign.rewards.open.load_reward", load_reward)
    monkeypatch.setattr("pluralign.evaluate.rewards.scored.load_reward", load_reward)
    return opened, limit


def answers(path, texts, prompts=PROMPTS, **more):
    """One row for each prompt and text."""
    rows = [{"prompt": p, "completion": t, "sample": i, **more} for p, own in zip(prompts, texts, strict=True)
            for i, t in enumerate(own)]  # fmt: skip
    return write(path, rows)


DRAWS = [["xy", "x", "", "yyy"], ["x", "x", "xxy", "y"], ["", "yy", "xxxyy", "xy"]]


@pytest.fixture
def files(tmp_path):
    return {
        "draws": answers(tmp_path / "draws.jsonl", DRAWS),
        "base": answers(tmp_path / "base.jsonl", [["", "y"], ["y", "y"], ["", ""]]),
        "demo": answers(tmp_path / "demo.jsonl", [["xyyy"], ["yyyy"], ["yyyxx"]]),
        "greedy": answers(tmp_path / "greedy.jsonl", [["yx"], ["x"], ["yy"]]),
    }


def best_of_n_options(files, out, **changes):
    options = {
        "--completions": files["draws"], "--golden": "y", "--out": out, "--base": files["base"],
        "--demonstrations": files["demo"], "--greedy": files["greedy"], **changes,
    }  # fmt: skip
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    return ["evaluate", "best-of-n", "--rewards", "x=x", "long=long", *given]


def test_best_of_n(run, scorers, files, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*best_of_n_options(files, out, **{"--json": tmp_path / "figures.json"})) == 0
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
    # The proxies read the draws alone, and each text of a prompt once.
    opened, _ = scorers
    assert [scorer.name for scorer in opened] == ["x", "long", "y"]
    assert [d.options for call in opened[0].seen for d in call] == [
        ("xy", "x", "", "yyy"), ("x", "xxy", "y"), ("", "yy", "xxxyy", "xy"),
    ]  # fmt: skip
    assert len(opened[2].seen) == 4


def test_without_ends_there_is_no_scale(run, scorers, files, tmp_path, capsys):
    bare = {"--base": None, "--demonstrations": None, "--greedy": None}
    assert run(*best_of_n_options(files, tmp_path / "a", **bare)) == 0
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["curves"]["x"]["normalised"] is None
    assert report["curves"]["x"]["win_rate"] is None
    # Demonstrations below the base give none either, which is told.
    exchanged = {"--base": files["demo"], "--demonstrations": files["base"]}
    assert run(*best_of_n_options(files, tmp_path / "b", **exchanged)) == 0
    assert "not normalised: " in capsys.readouterr().out
    assert json.loads((tmp_path / "b" / "report.json").read_text())["curves"]["x"]["normalised"] is None


def test_an_interrupted_run_continues(run, scorers, files, tmp_path):
    opened, limit = scorers
    assert run(*best_of_n_options(files, tmp_path / "whole")) == 0
    whole = (tmp_path / "whole" / "rewards.jsonl").read_bytes()
    opened.clear()
    limit["calls"] = 1
    out = tmp_path / "out"
    # x, long and golden's draws are scored; golden's second file is where it stops.
    assert run(*best_of_n_options(files, out)) == 130
    assert not (out / "rewards.jsonl").exists()
    limit.clear()
    opened.clear()
    assert run(*best_of_n_options(files, out)) == 0
    assert [scorer.name for scorer in opened] == ["y"]
    assert len(opened[0].seen) == 3
    assert (out / "rewards.jsonl").read_bytes() == whole
    reports = [(tmp_path / part / "report.json").read_bytes() for part in ("whole", "out")]
    assert reports[0] == reports[1]
    opened.clear()
    assert run(*best_of_n_options(files, out)) == 0
    assert not opened, "what is whole is not scored again"
    answers(files["greedy"], [["yx"], ["x"], ["yyyy"]])
    assert run(*best_of_n_options(files, out)) == 0
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
    assert opened[2].seen[-1][0].options == (" yy",)


def test_preferences_are_demonstrations_too(run, scorers, files, tmp_path):
    rows = [{"prompt": p, "chosen": "yyyy", "rejected": "x"} for p in PROMPTS]
    demo = write(tmp_path / "pairs.jsonl", rows)
    assert run(*best_of_n_options(files, tmp_path / "out", **{"--demonstrations": demo})) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["golden_of"]["demonstrations"]["mean"] == 4.0


def test_best_of_n_refuses(refuses, run, scorers, files, tmp_path):
    def complaint(**changes):
        return refuses(*best_of_n_options(files, tmp_path / "out", **changes))

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
        given = ["evaluate", "best-of-n", "--completions", files["draws"], "--golden", "y", "--out", tmp_path]
        assert message in refuses(*given, "--rewards", *rewards)


def test_win_rate_by_a_reward(run, scorers, files, tmp_path, capsys):
    given = ["evaluate", "win-rate", "--a", files["demo"], "--b", files["greedy"], "--rater", "reward:x"]
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


def test_win_rate_by_a_judge_asks_in_both_orders(run, files, tmp_path, capsys):
    given = ["evaluate", "win-rate", "--a", files["demo"], "--b", files["greedy"], "--rater"]
    harmless = ["--objective", "harmless"]
    assert run(*given, "judge:tiny-random", *harmless, "--out", tmp_path / "r.jsonl") == 0
    assert "contradicts itself between orders on" in capsys.readouterr().out
    rows = rows_of(tmp_path / "r.jsonl")
    agree = [row["info"]["answers"][0] == row["info"]["answers"][1] for row in rows]
    assert [row["preference"] != "tie" for row in rows] == agree
    assert run(*given, "judge:tiny-random", *harmless, "--decide", "mean", "--out", tmp_path / "m.jsonl") == 0
    for row in rows_of(tmp_path / "m.jsonl"):
        assert row["preference"] == ("first" if sum(row["info"]["log_odds"]) > 0 else "second")


def test_win_rate_refuses(refuses, scorers, files, tmp_path):
    given = ["evaluate", "win-rate", "--a", files["demo"], "--b", files["greedy"], "--rater"]
    assert "unknown rater 'oracle'" in refuses(*given, "oracle", "--objective", "harmless")
    assert "field 'objective'" in refuses(*given, "judge:tiny-random")
    assert "field 'description'" in refuses(*given, "judge:tiny-random", "--objective", "kind")
    short = answers(tmp_path / "short.jsonl", [["y"]], PROMPTS[:1])
    given = ["evaluate", "win-rate", "--a", files["demo"], "--rater", "reward:x", "--b"]
    assert "has no answer to the prompt of row 2" in refuses(*given, short)
    assert "expected one answer" in refuses(*given, files["draws"])
    given = ["evaluate", "win-rate", "--a", files["demo"], "--b", files["greedy"], "--rater", "reward:nan"]
    assert "not numbers" in refuses(*given)


def test_separation(run, scorers, files, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["evaluate", "separation", "--rewards", "x=x", "y=y", "--out", out]
    sources = ["--sources", f"base={files['base']}", f"draws={files['draws']}", f"demo={files['demo']}"]
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


def test_separation_refuses(refuses, scorers, files, tmp_path):
    given = ["evaluate", "separation", "--rewards", "x=x", "--out", tmp_path / "out", "--sources"]
    assert "field 'sources': expected two or more" in refuses(*given, f"a={files['base']}")
    assert "expected NAME=FILE" in refuses(*given, files["base"])
    elsewhere = answers(tmp_path / "other.jsonl", [["a"]], ["p"])
    told = refuses(*given, f"a={files['base']}", f"b={elsewhere}")
    assert "'a' and 'b' share 0 prompts" in told


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


@pytest.mark.parametrize("verb", ["best-of-n", "win-rate", "separation"])
def test_help_has_an_example(run, verb, capsys):
    assert run("evaluate", verb, "--help") == 0
    assert f"pluralign evaluate {verb} --" in " ".join(capsys.readouterr().out.split())
