import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.losses.likelihood import (
    behaviour_cloning_loss,
    clamped_negative,
    contrastive_sft_loss,
    literal_negative,
    sft_loss,
    unlikelihood,
    weighted_mean_nll,
)


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


def test_behaviour_cloning_is_finite_at_extremes():
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = behaviour_cloning_loss(scores.log_softmax(-1), torch.tensor([1, 1]))
    (gradient,) = torch.autograd.grad(loss, scores)
    # The first decision took what is 2e4 nats less likely than the best, the second the best.
    assert loss.item() == 1e4
    assert gradient.tolist() == [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]


def test_no_weight_at_all_is_zero():
    assert weighted_mean_nll(torch.tensor([-3.0]), torch.tensor([0.0])).item() == 0.0


def test_sft_golden_value():
    loss = sft_loss(torch.tensor([0.5, 0.25, 0.2]).log(), tokens=4.0)
    assert loss.item() == pytest.approx(math.log(40) / 4)


def test_sft_pushes_every_token_alike():
    values = torch.tensor([0.0, -3.0, -1e4], requires_grad=True)
    loss = sft_loss(values, tokens=4.0)
    assert loss.item() == pytest.approx(10003 / 4)
    torch.testing.assert_close(torch.autograd.grad(loss, values)[0], torch.full((3,), -0.25))


@pytest.mark.parametrize(
    ("negative", "penalty"),
    [(unlikelihood, -math.log(0.8)), (literal_negative, math.log(0.2)), (clamped_negative, math.log(0.2))],
)
def test_contrastive_sft_golden_value(negative, penalty):
    log_probs = torch.tensor([0.5, 0.2, 0.25]).log()
    loss = contrastive_sft_loss(log_probs, torch.tensor([True, False, True]), negative, beta=2.0, tokens=4.0)
    assert loss.item() == pytest.approx(2.0 * (math.log(8) + penalty) / 4.0)


@pytest.mark.parametrize("negative", [unlikelihood, literal_negative, clamped_negative])
def test_contrastive_sft_gradient_signs(negative):
    values = torch.tensor([-1.0, -1.0, -2.0, -2.0], requires_grad=True)
    loss = contrastive_sft_loss(values, torch.tensor([True, False, True, False]), negative, tokens=4.0)
    (gradient,) = torch.autograd.grad(loss, values)
    torch.testing.assert_close(gradient[[0, 2]], torch.full((2,), -0.25))
    assert (gradient[[1, 3]] > 0).all()


@pytest.mark.parametrize("negative", [unlikelihood, literal_negative, clamped_negative])
def test_contrastive_sft_of_chosen_tokens_alone_is_sft(negative):
    values = torch.tensor([-1.0, -0.0, -1e4])
    loss = contrastive_sft_loss(values, torch.ones(3, dtype=torch.bool), negative, tokens=4.0)
    torch.testing.assert_close(loss, sft_loss(values, tokens=4.0))


@pytest.mark.parametrize("negative", [unlikelihood, literal_negative, clamped_negative])
@pytest.mark.parametrize("log_prob", [0.0, -1e-7, -1e-6, -1e4])
def test_penalties_are_finite_at_extremes(negative, log_prob):
    values = torch.tensor([log_prob], requires_grad=True)
    penalty = negative(values)
    assert torch.isfinite(penalty).all()
    assert torch.isfinite(torch.autograd.grad(penalty.sum(), values)[0]).all()


def test_the_penalty_of_a_certain_token_is_as_stated():
    assert unlikelihood(torch.tensor([0.0])).item() == pytest.approx(6 * math.log(10), rel=1e-5)
    assert unlikelihood(torch.tensor([-math.inf])).item() == 0.0


@given(st.floats(1e-6, 0.99))
def test_unlikelihood_and_its_gradient(p):
    value = torch.tensor([math.log(p)], dtype=torch.float64, requires_grad=True)
    penalty = unlikelihood(value)
    assert penalty.item() == pytest.approx(-math.log1p(-p), rel=1e-6)
    # d/dlog p of - log(1 - p).
    assert torch.autograd.grad(penalty, value)[0].item() == pytest.approx(p / (1 - p), rel=1e-6)


def test_penalties_part_on_what_is_unlikely():
    values = torch.tensor([-9.0, -11.0, -1e4], requires_grad=True)
    assert literal_negative(values).tolist() == [-9.0, -11.0, -1e4]
    clamped = clamped_negative(values)
    assert clamped.tolist() == [-9.0, -10.0, -10.0]
    assert torch.autograd.grad(clamped.sum(), values)[0].tolist() == [1.0, 0.0, 0.0]
    assert clamped_negative(values, floor=-9.5).tolist() == [-9.0, -9.5, -9.5]
