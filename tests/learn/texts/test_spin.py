"""SPIN: its first iterate is DPO, and it moves towards the demonstrations."""

import json

import torch
from safetensors.torch import load_file

from pluralign.core import Demonstration
from pluralign.folders.card import load_card
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.spin import SPINConfig, fit_spin
from pluralign.learn.texts.training_options import Training
from pluralign.pair.recipes import pair_completions

WORDS = [a + b for a in "abcdef" for b in "ghijkl"]
TRAINING = Training(epochs=6, learning_rate=3e-3, bf16=False)


def demonstrations():
    return [
        Demonstration(f"Say {w}:", f" {w}!", "lively", split="train" if i % 4 else "validation")
        for i, w in enumerate(WORDS)
    ]


def test_the_first_iterate_is_dpo_on_what_the_policy_wrote(tmp_path):
    rows = demonstrations()
    config = SPINConfig(iterations=1, max_new_tokens=5, beta=0.2)
    fit_spin(rows, Run("tiny-random", tmp_path / "spin", TRAINING, seed=3), config)
    drawn = [json.loads(line) for line in (tmp_path / "spin" / "rounds" / "1.jsonl").read_text().splitlines()]
    samples = [Demonstration(row["prompt"], row["completion"]) for row in drawn if row["completion"].strip()]
    train = [row for row in rows if row.split == "train"]
    pairs = pair_completions(train, samples, objective="lively", recipe="spin")
    fit_dpo(pairs, Run("tiny-random", tmp_path / "dpo", TRAINING, seed=3), DPOConfig(beta=0.2))
    one, other = (load_file(tmp_path / name / "trunk.safetensors") for name in ("spin", "dpo"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_more_iterates_like_the_demonstrations_better(tmp_path):
    nll = []
    for iterations in (1, 3):
        out = tmp_path / str(iterations)
        fit_spin(
            demonstrations(), Run("tiny-random", out, TRAINING), SPINConfig(iterations, max_new_tokens=5)
        )
        nll.append(load_card(out).figures["validation_nll"])
    # The untrained model's is about log 259.
    assert 5.5 > nll[0] > nll[1]
