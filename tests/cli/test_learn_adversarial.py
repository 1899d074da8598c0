"""The verb ``learn adversarial``, as a person would use it, on a tiny random model."""

import json

import pytest

from pluralign.folders.tuned import load_language_policy
from pluralign.rewards.reward_model import load_reward_model

ROWS = [{"prompt": f"Say {a}{b}:", "completion": f" {a}{b}!"} for a in "abcdefgh" for b in "ijkl"]


@pytest.fixture
def command(tmp_path):
    data = tmp_path / "lively.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def make(*options):
        return (
            "learn", "adversarial", "--data", data, "--model", "tiny-random", "--out", tmp_path / "out",
            "--training.bf16", "False", "--training.lora-rank", 2, "--training.learning-rate", "1e-3",
            "--config.rounds", 2, "--config.prompts", 8, "--config.max-new-tokens", 4,
            "--config.discriminator.epochs", 1, "--config.discriminator.bf16", "False", *options,
        )  # fmt: skip

    return make


@pytest.mark.parametrize(
    ("options", "name"),
    [(["--divergence", "gail"], "gail"), (["--divergence", "alpha", "--alpha", "2"], "alpha 2")],
)
def test_it_writes_a_policy_and_tells_the_rounds(run, command, tmp_path, capsys, options, name):
    figures = tmp_path / "figures.json"
    assert run(*command(*options, "--json", figures)) == 0
    told = capsys.readouterr().out.splitlines()
    assert "32 demonstrations" in told[0]
    assert [line.split(",")[0] for line in told[1:3]] == ["round 1", "round 2"]
    assert "kl" in told[-1]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["method"], card["objective"], card["config"]["divergence"]) == (
        "adversarial",
        "lively",
        name,
    )
    assert json.loads(figures.read_text())["figures"]["rounds"] == card["figures"]["rounds"]
    assert load_language_policy(tmp_path / "out").name == "lively"
    assert load_reward_model(tmp_path / "out" / "rounds" / "2" / "discriminator").name == "discriminator 2"
    # The same command finds it finished; another divergence is another run.
    assert run(*command(*options)) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == told[1:3]


def test_it_refuses_in_one_line(refuses, command):
    assert "multiple of the 4 samples" in refuses(*command("--training.batch-size", 6))
    assert "whole trunk or an adapter" in refuses(*command("--training.layers", 1))
