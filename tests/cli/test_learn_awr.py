"""The verb ``learn awr``, as a person would use it, on a tiny random model."""

import json

import pytest
from json_lines import write

from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy

QUICK = (
    "--model", "tiny-random", "--training.bf16", "False", "--training.epochs", "1",
    "--training.learning-rate", "1e-3",
)  # fmt: skip
ROWS = [
    {"prompt": f"Say {i}:", "completion": f" {word}", "reward": reward}
    for i in range(8)
    for word, reward in (("yes!", 2), ("yes.", 1), ("no", -1))
]


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "lively.jsonl", ROWS)


def test_it_writes_a_policy_and_reports_how_many_tokens_are_compared(run, data, tmp_path, capsys):
    figures, out = tmp_path / "figures.json", tmp_path / "out"
    command = ("learn", "awr", "--data", data, "--out", out, *QUICK, "--json", figures)
    assert run(*command, "--config.beta", 1) == 0
    said = capsys.readouterr().out
    assert "24 completions with rewards" in said
    card = load_card(out)
    assert (card.method, card.objective, card.config["beta"]) == ("awr", "lively", 1.0)
    # The first token of each sample, and the ends of two.
    trained = card.data["demonstrations"]
    assert card.figures["branching_tokens"] == 5 * trained // 3
    assert f"branching tokens {card.figures['branching_tokens']}" in said
    assert json.loads(figures.read_text())["figures"]["branching_share"] == card.figures["branching_share"]
    assert load_language_policy(out).name == "lively"
    # Another temperature is another run.
    assert run(*command, "--config.beta", 2) == 2
    assert "holds another run" in capsys.readouterr().err


def test_it_refuses_in_one_line(refuses, data, tmp_path):
    def told(*options, data=data):
        return refuses("learn", "awr", "--data", data, "--out", tmp_path / "out", *QUICK, *options)

    assert "field 'beta'" in told("--config.beta", 0)
    plain = write(tmp_path / "plain.jsonl", [{"prompt": "a", "completion": "b"}])
    assert "reward" in told(data=plain)
    alike = write(tmp_path / "alike.jsonl", [{**row, "reward": 1} for row in ROWS])
    assert "nothing did better than its siblings; learn sft imitates all alike" in told(data=alike)
    once = write(tmp_path / "once.jsonl", ROWS[::3])
    assert "no prompt has two different completions" in told(data=once)
    drawn = write(tmp_path / "drawn.jsonl", [{**row, "samples_drawn": 3} for row in ROWS])
    assert "drawn.jsonl:1, field 'samples_drawn'" in told(data=drawn)
    assert not (tmp_path / "out").exists()
