"""Training on a GPU: the same steps as on the CPU, and bfloat16 mixed precision."""

import dataclasses

import pytest
import torch
from planted import LEARNERS, pairs
from safetensors.torch import load_file
from scipy.stats import binomtest

from pluralign.folders.card import load_card
from pluralign.learn.texts.heads import MAHDPOConfig, fit_mah_dpo
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.device import use_device

pytestmark = pytest.mark.gpu
DEVICE = "cuda"


def curve(folder):
    return torch.tensor([entry["loss"] for entry in load_card(folder).figures["curve"]])


@pytest.mark.parametrize("method", ["bradley-terry", "dpo"])
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-3), (True, 5e-2)])
@pytest.mark.parametrize("tuning", [{}, {"lora_rank": 4}])
def test_losses_are_those_of_the_cpu(method, bf16, tolerance, tuning, tmp_path):
    curves = []
    for device in ("cpu", DEVICE):
        with use_device(device):
            training = Training(
                epochs=1, learning_rate=1e-3, bf16=bf16 and device == DEVICE, dtype="float32", **tuning
            )
            LEARNERS[method](pairs(32), Run("tiny-random", tmp_path / device, training))
        curves.append(curve(tmp_path / device))
    torch.testing.assert_close(*curves, atol=tolerance, rtol=tolerance)
    if not tuning:
        # Weights that are trained are in float32, whatever the products are in.
        weights = load_file(tmp_path / DEVICE / "trunk.safetensors")
        assert {value.dtype for value in weights.values()} == {torch.float32}


def test_a_planted_preference_is_recovered_in_bfloat16(tmp_path):
    with use_device(DEVICE):
        training = Training(epochs=4, learning_rate=3e-3, bf16=True)
        model = LEARNERS["bradley-terry"](pairs(64), Run("tiny-random", tmp_path, training))
        unseen = pairs(60, seed=1)
        decisions = [pair.chosen.steps[0].decision for pair in unseen]
        rewards = [score.mean for score in model.score_decisions(decisions)]
    right = sum(
        reward[pair.chosen.steps[0].action] > reward[pair.rejected.steps[0].action]
        for reward, pair in zip(rewards, unseen, strict=True)
    )
    assert right > 30
    assert binomtest(int(right), 60).pvalue < 0.001


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-3), (True, 5e-2)])
def test_weighed_gradients_of_joint_heads_are_those_of_the_cpu(bf16, tolerance, tmp_path):
    data = {
        name: [
            dataclasses.replace(pair, objective=name, split="train" if i % 4 else "validation")
            for i, pair in enumerate(pairs(32, seed=seed))
        ]
        for seed, name in enumerate(("one", "other"))
    }
    weights = []
    for device in ("cpu", DEVICE):
        with use_device(device):
            training = Training(
                epochs=1, learning_rate=1e-3, bf16=bf16 and device == DEVICE, dtype="float32", lora_rank=2
            )
            config = MAHDPOConfig(trunk="joint", gradients="min_norm")
            fit_mah_dpo(data, Run("tiny-random", tmp_path / device, training), config)
        figures = load_card(tmp_path / device).figures
        weights.append(torch.tensor([figures[f"gradient_weight_{name}"] for name in data]))
    torch.testing.assert_close(*weights, atol=tolerance, rtol=tolerance)
