"""The verb ``learn lipo``, as a person would use it, on a tiny random model."""

import json

import pytest
from json_lines import write

from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.rewards.open import load_reward

WORDS = [a + b for a in "abcd" for b in "efgh"]
QUICK = (
    "--model", "tiny-random", "--training.bf16", "False", "--training.epochs", "1",
    "--training.learning-rate", "1e-3",
)  # fmt: skip


@pytest.fixture
def data(tmp_path):
    rows = [
        {"prompt": f"Say {w}:", "completion": f" {w}{end}", "reward": reward}
        for w in WORDS
        for end, reward in (("!", 3), (".", 1), ("?", 2), (";", -1), (",", 0))
    ]
    rows += [{"prompt": "Short:", "completion": " a", "reward": 1}]
    return write(tmp_path / "lively.jsonl", rows)


def test_it_writes_a_policy_and_reports_what_it_left_out(run, data, tmp_path, capsys):
    figures, out = tmp_path / "figures.json", tmp_path / "out"
    command = ("learn", "lipo", "--data", data, "--out", out, *QUICK, "--json", figures)
    assert run(*command, "--config.size", 4, "--config.loss", "list-mle", "--config.beta", 0.1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "81 completions with rewards" in lines[0]
    assert (
        "16 lists of 4 completions; left out: prompts with fewer than 4 different completions (1)" in lines[1]
    )
    assert "completions beyond the size (16)" in lines[1]
    card = load_card(out)
    assert (card.method, card.objective) == ("lipo", "lively")
    assert (card.config["loss"], card.config["beta"]) == ("list_likelihood_loss", 0.1)
    assert json.loads(figures.read_text())["data"]["lists"] == card.data["lists"]
    assert load_language_policy(out).name == "lively"
    assert load_reward(f"closed-form:{out}").name == "lively closed form"
    # Another loss is another run.
    capsys.readouterr()
    assert run(*command, "--config.loss", "pairs") == 2
    assert "holds another run" in capsys.readouterr().err


def test_it_refuses_in_one_line(refuses, data, tmp_path):
    def told(*options, data=data):
        return refuses("learn", "lipo", "--data", data, "--out", tmp_path / "out", *QUICK, *options)

    assert "field 'size'" in told("--config.size", 1)
    assert "no prompt has 9 different completions" in told("--config.size", 9)
    assert "config.loss" in told("--config.loss", "ranknet")
    assert "field 'beta'" in told("--config.beta", 0)
    plain = write(tmp_path / "plain.jsonl", [{"prompt": "a", "completion": "b"}])
    assert "reward" in told(data=plain)
    assert not (tmp_path / "out").exists()
