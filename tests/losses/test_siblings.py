"""Advantages over the options that other episodes took at the same decision."""

import pytest
import torch

from pluralign.losses.siblings import advantage_weights, sibling_advantages


def test_every_option_once_gives_the_advantage_of_uniform_play():
    returns = torch.tensor([3.0, 5.0, 10.0, -1.0], dtype=torch.float64)
    decisions, actions = torch.tensor([7, 7, 7, 2]), torch.tensor([0, 2, 1, 0])
    found = sibling_advantages(decisions, actions, returns)
    assert found.tolist() == [-3, -1, 4, 0]
    moved = sibling_advantages(decisions, actions, returns + 1000)
    torch.testing.assert_close(moved, found)


def test_siblings_count_as_often_as_they_were_taken_or_alike():
    decisions, actions = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 0, 1])
    returns = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert sibling_advantages(decisions, actions, returns).tolist() == [-2, -2, -2, 6]
    assert sibling_advantages(decisions, actions, returns, weighted=False).tolist() == [-4, -4, -4, 4]
    scaled = sibling_advantages(decisions, actions, returns, weighted=False, scale=True)
    torch.testing.assert_close(scaled, torch.tensor([-1.0, -1.0, -1.0, 1.0]), rtol=1e-4, atol=0)


def test_a_lone_option_has_no_advantage():
    found = sibling_advantages(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([0.1, 0.7]))
    assert found.tolist() == [0, 0]
    scaled = sibling_advantages(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.1]), scale=True)
    assert scaled.tolist() == [0]


def test_weights_grow_with_the_advantage_up_to_a_limit():
    weights = advantage_weights(torch.tensor([-1.0, 0.0, 1.0, 1000.0]), beta=0.5)
    assert weights.tolist() == pytest.approx([0.1353, 1, 7.3891, 100], rel=1e-3)
