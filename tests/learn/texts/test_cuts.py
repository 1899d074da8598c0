"""What truncation leaves: pairs that it makes identical are not learned from, and are counted."""

import json
import logging

import numpy as np
import pytest

from pluralign.cli import main
from pluralign.core import InputError, OptionRewards, SteeringWeights
from pluralign.data.load import load_pairs
from pluralign.folders.card import load_card
from pluralign.learn.texts.modpo import Margin, fit_modpo
from pluralign.learn.texts.policies import fit_policy
from pluralign.learn.texts.rewards import fit_discriminator, fit_reward
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.rewards.reward import Reward

SAME = "word " * 72
LONG = [{"prompt": f"Say {i}:", "chosen": f" {SAME}good", "rejected": f" {SAME}bad"} for i in range(24)]
SHORT = [{"prompt": f"Tell {i}:", "chosen": " good", "rejected": " bad"} for i in range(9)]
SETTINGS = Training(max_length=64, layers=1, learning_rate=1e-3)


def _run(command):
    with pytest.raises(SystemExit, match="0"):
        main(command)


def _card(folder):
    return load_card(folder).data


@pytest.mark.parametrize("fit", [fit_policy, fit_reward])
def test_pairs_that_the_cut_makes_identical_are_left_out_and_counted(fit, tmp_path, caplog):
    fit(load_pairs(SHORT, "o", "train"), model="tiny-random", training=SETTINGS, out=tmp_path / "short")
    with caplog.at_level(logging.WARNING):
        fit(
            load_pairs([*LONG, *SHORT], "o", "train"),
            model="tiny-random",
            training=SETTINGS,
            out=tmp_path / "all",
        )
    assert "24 pairs left out because their completions are identical when read" in caplog.text
    alone, among = _card(tmp_path / "short"), _card(tmp_path / "all")
    assert (alone["pairs"], alone["identical_pairs"]) == (9, 0)
    assert (among["pairs"], among["identical_pairs"], among["cut_completions"]) == (9, 24, 48)
    assert among["digest"] == alone["digest"]


@pytest.mark.parametrize("fit", [fit_policy, fit_reward])
def test_nothing_left_is_refused(fit):
    with pytest.raises(InputError, match=r"'max_length': in all 24 pairs .* identical within 64 tokens"):
        fit(load_pairs(LONG, "o", "train"), model="tiny-random", training=SETTINGS)


def test_identical_validation_pairs_are_counted_and_not_measured_on(tmp_path):
    train, same = load_pairs(SHORT, "o", "train"), load_pairs(LONG, "o", "validation")
    held_out = load_pairs(SHORT[:4], "o", "validation")
    fit_reward([*train, *same, *held_out], model="tiny-random", training=SETTINGS, out=tmp_path / "some")
    card = load_card(tmp_path / "some")
    assert (card.data["validation_pairs"], card.data["validation_identical_pairs"]) == (4, 24)
    fit_reward([*train, *same], model="tiny-random", training=SETTINGS, out=tmp_path / "none")
    assert "validation_accuracy" not in load_card(tmp_path / "none").figures


def test_a_discriminator_learns_from_identical_completions_too(tmp_path):
    run = Run("tiny-random", tmp_path / "d", SETTINGS)
    fit_discriminator(load_pairs(LONG, "o", "train"), run)
    assert _card(tmp_path / "d")["pairs"] == 24


def test_margins_are_those_of_the_pairs_that_are_left(tmp_path):
    """The margin rewards of MODPO, which are computed for whole texts, follow their pairs."""

    class Length(Reward):
        name, counts = "length", {}

        def render(self, messages, opens):
            raise NotImplementedError

        def score_decisions(self, decisions):
            return [
                OptionRewards(
                    np.array([float(len(d.prompt + o)) for o in d.options]), np.zeros(len(d.options))
                )
                for d in decisions
            ]

    run = Run("tiny-random", tmp_path / "m", SETTINGS)
    mixed = [row for both in zip(LONG[:9], SHORT, strict=True) for row in both]
    weights = SteeringWeights({"o": 0.5, "length": 0.5})
    fit_modpo(load_pairs(mixed, "o", "train"), run, margins={"length": Margin(Length())}, weights=weights)
    card = load_card(tmp_path / "m")
    assert (card.data["pairs"], card.data["identical_pairs"]) == (9, 9)
    # Every short pair's chosen completion is one letter longer.
    assert card.figures["margins"]["length"] == {"agreement": 1.0, "spread": 0.5}


def test_verbs_say_what_was_cut(tmp_path, capsys):
    data, out = tmp_path / "pairs.jsonl", tmp_path / "r"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*LONG[:3], *SHORT]))
    rows = load_pairs(str(data), "o", "train")
    fit_reward(rows, model="tiny-random", training=SETTINGS, out=out)
    _run(["evaluate", "reward", "--model", str(out), "--data", str(data), "--split", "all"])
    said = capsys.readouterr().out
    assert "6 completions cut" in said
    assert "3 completions identical to another of the same prompt when read" in said
    command = ["learn", "dpo", "--data", str(data), "--model", "tiny-random", "--out", str(tmp_path / "p")]
    _run([*command, "--training.max-length", "64", "--training.layers", "1"])
    assert "left out because" in capsys.readouterr().out
    figures = tmp_path / "f.json"
    command = ["score", "--model", str(out), "--data", str(data), "--out", str(tmp_path / "s.jsonl")]
    _run([*command, "--json", str(figures)])
    assert "3 identical completions" in capsys.readouterr().out
    assert json.loads(figures.read_text())["identical_completions"] == 3
