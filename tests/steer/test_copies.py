"""Copies of loaded policies, and what a pickle of them holds, write what they write."""

import copy
import pickle

import numpy as np
import pytest
import torch

from pluralign.lm.backbone import make_tiny_backbone
from pluralign.rewards.prompt_weights import PromptWeights, WeightsHead
from pluralign.steer.policies import load_policies

COPIES = {"copy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}
SETTINGS = {"weights": {"a": 0.5, "b": 0.5}, "max_new_tokens": 5}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_policies(copied, dtype):
    # Their linear layers are packed, in a layout that PyTorch cannot copy.
    mix = load_policies("tiny-random", a="tiny-random", b="tiny-random", dtype=dtype)
    expected = mix.generate("Say a:", **SETTINGS)
    stream = mix.stream("Say a:", **SETTINGS)
    first = next(stream)
    other = copied(mix)
    assert other.generate("Say a:", **SETTINGS) == mix.generate("Say a:", **SETTINGS) == expected
    assert first + "".join(stream) == expected


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_weights_of_prompts(copied):
    backbone = make_tiny_backbone()
    model = PromptWeights(backbone, WeightsHead(backbone.hidden_size, 2), ("a", "b"))
    with torch.no_grad():
        model.head.linear.weight[0].fill_(0.1)
    assert np.array_equal(copied(model).weights(["Say a:"]), model.weights(["Say a:"]))
