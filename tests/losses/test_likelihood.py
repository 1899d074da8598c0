import math

import pytest
import torch

from pluralign.losses.likelihood import behaviour_cloning_loss, weighted_mean_nll


def test_golden_value():
    log_probs = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    loss = behaviour_cloning_loss(log_probs, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_weights_count_as_repeats():
    log_probs = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    weighted = behaviour_cloning_loss(log_probs, torch.tensor([0, 1]), torch.tensor([3.0, 1.0]))
    repeated = behaviour_cloning_loss(log_probs[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(weighted, repeated)


def test_gradient_raises_the_option_taken():
    scores = torch.zeros(1, 3, requires_grad=True)
    behaviour_cloning_loss(scores.log_softmax(-1), torch.tensor([1])).backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([[1 / 3, -2 / 3, 1 / 3]]))


def test_masked_entries_are_inert_even_at_minus_infinity():
    values = torch.tensor([-0.5, -math.inf], requires_grad=True)
    loss = weighted_mean_nll(values, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert values.grad is not None
    torch.testing.assert_close(values.grad, torch.tensor([-1.0, 0.0]))


def test_no_weight_at_all_is_zero():
    assert weighted_mean_nll(torch.tensor([-3.0]), torch.tensor([0.0])).item() == 0.0
