"""Functions of the user's as rewards on the command line."""

import json
from decimal import Decimal

import pandas
import pytest
from json_lines import rows_of

CODE = """
def brief(prompts, completions):
    return [-len(text.split()) for text in completions]

def broken(prompts, completions):
    return [1 / 0 for _ in completions]
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return f"function:{tmp_path}/mine.py"


def test_score_and_win_rate(run, refuses, answer_files, code, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(
            json.dumps({"prompt": "Say:", "completion": text}) + "\n" for text in ("one two", "", "three")
        )
    )
    out = tmp_path / "scored.jsonl"
    assert run("score", "--model", f"{code}:brief", "--data", data, "--out", out) == 0
    assert [row["rewards"]["completion"]["reward"] for row in rows_of(out)] == [-2, 0, -1]
    pair = ("--a", answer_files["demo"], "--b", answer_files["greedy"])
    judged = ("evaluate", "win-rate", *pair, "--rater", f"reward:{code}:brief")
    assert run(*judged, "--out", tmp_path / "r.jsonl") == 0
    assert {row["preference"] for row in rows_of(tmp_path / "r.jsonl")} == {"tie"}
    failed = refuses("score", "--model", f"{code}:broken", "--data", data, "--out", tmp_path / "none.jsonl")
    assert "mine.py:broken failed in mine.py, line 6: ZeroDivisionError" in failed
    assert not (tmp_path / "none.jsonl").exists()


def test_other_columns_of_a_table_go_to_the_scores(run, refuses, code, tmp_path):
    """Times ended the verb with a trace after it had scored."""
    data, out = tmp_path / "data.parquet", tmp_path / "scored.jsonl"
    rows = pandas.DataFrame({"prompt": ["Say:"] * 2, "completion": ["one", "one two"]})
    when, prices = [pandas.Timestamp("2024-01-02 03:04"), None], [Decimal("1.5"), None]
    rows.assign(when=when, price=prices).to_parquet(data)
    assert run("score", "--model", f"{code}:brief", "--data", data, "--out", out) == 0
    first, second = rows_of(out)
    assert (first["when"], first["price"]) == ("2024-01-02T03:04:00", 1.5)
    assert (second["when"], second["price"]) == (None, None)
    rows.assign(icon=[None, b"x"]).to_parquet(data)
    failed = refuses("score", "--model", f"{code}:brief", "--data", data, "--out", tmp_path / "none.jsonl")
    assert "data.parquet:2, field 'icon': expected what JSON can have, found b'x'" in failed


def test_a_policy_gradient_on_a_function(run, refuses, code, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say {i}:"}) + "\n" for i in range(8)))
    learn = (
        "learn", "rl", "--prompts", prompts, "--model", "tiny-random", "--weights", "brief=1", "--out",
        tmp_path / "rl", "--config.rounds", 1, "--config.prompts", 4, "--config.samples", 4,
        "--config.max-new-tokens", 12, "--training.batch-size", 8, "--training.bf16", "False",
    )  # fmt: skip
    assert run(*learn, "--rewards", f"brief={code}:brief") == 0
    card = json.loads((tmp_path / "rl" / "card.json").read_text())
    assert card["data"]["rewards"]["brief"]["source"] == f"{code}:brief"
    assert len(card["data"]["rewards"]["brief"]["digest"]) == 32
    # The finished run is not taken for one with a function that has changed since.
    (tmp_path / "mine.py").write_text(CODE.replace("-len", "len"))
    assert "holds another run" in refuses(*learn, "--rewards", f"brief={code}:brief")
