from functools import partial

import numpy as np
import pytest
import torch

from pluralign.core.function_digests import function_digest
from pluralign.folders.card import Card
from pluralign.rewards.reward_model import RewardModel


def scaled(x, scale=1.0):
    return scale * x


class Weighted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale, self.seen = torch.nn.Linear(2, 1), torch.nn.Parameter(torch.randn(2)), {}

    def forward(self, x):
        return self.linear(self.scale * x)


class Filling(Weighted):
    def forward(self, x):
        self.seen["x"] = x
        return self.linear(x)


def reward_model(seed):
    model = object.__new__(RewardModel)
    model.card = Card("bradley_terry", seed=seed)
    return model


def weighted(seed, kind):
    torch.manual_seed(seed)
    return kind()


@pytest.mark.parametrize(
    "made",
    [
        lambda seed: np.arange(3.0) + seed,
        lambda seed: torch.arange(3) + seed,
        lambda seed: torch.full((2, 2), float(seed), dtype=torch.bfloat16, requires_grad=True),
        lambda seed: torch.tensor(float(seed)),
        lambda seed: {"w": [torch.full((3,), seed)]},
        lambda seed: weighted(seed, lambda: torch.nn.Linear(2, 1)),
        lambda seed: weighted(seed, Weighted),
        lambda seed: weighted(seed, Filling),
        reward_model,
    ],
)
def test_arrays_tensors_and_weights_count(made):
    def reward(x):
        return weights, x

    digests = []
    for seed in (1, 1, 2):
        weights = made(seed)
        digests.append(function_digest(reward))
    assert digests[0] == digests[1] != digests[2]


def test_arrays_that_have_no_plain_numbers_count_as_their_type():
    for one in (np.array([object()]), torch.eye(2).to_sparse(), torch.empty(2, device="meta")):
        assert function_digest(partial(scaled, one)) == function_digest(partial(scaled, one))
