import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.losses.contrastive import (
    contrastive_preference_loss,
    cpl_loss,
    labelled_accuracy,
    segment_advantages,
)

FULL = torch.ones(1, 2, dtype=torch.bool)


def test_golden_value():
    # A+ = 0.1 (ln .5 + .9 ln .25), A- = 0.1 (ln .1 + .9 ln .2); loss = ln(1 + exp(.5 A- - A+)).
    chosen, rejected = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.1, 0.2]]).log()
    better = 0.1 * (math.log(0.5) + 0.9 * math.log(0.25))
    worse = 0.1 * (math.log(0.1) + 0.9 * math.log(0.2))
    loss = cpl_loss(chosen, rejected, FULL, FULL, alpha=0.1, conservative_bias=0.5, gamma=0.9)
    assert loss.item() == pytest.approx(math.log1p(math.exp(0.5 * worse - better)), rel=1e-6)


def test_gradient_signs():
    chosen = torch.full((1, 2), -1.0, requires_grad=True)
    rejected = torch.full((1, 2), -1.0, requires_grad=True)
    cpl_loss(chosen, rejected, FULL, FULL).backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert (chosen.grad < 0).all()
    assert (rejected.grad > 0).all()
    # The bias lambda weakens the push on the rejected side by exactly lambda.
    torch.testing.assert_close(rejected.grad, -0.5 * chosen.grad)


def test_no_gradient_into_the_reference():
    chosen = torch.full((1, 2), -1.0, requires_grad=True)
    reference = torch.full((1, 2), -2.0, requires_grad=True)
    segment_advantages(chosen, FULL, reference, alpha=0.1).sum().backward()
    assert reference.grad is None


@pytest.mark.parametrize("padding", [0.0, -1e30, -math.inf, math.nan])
def test_masked_steps_are_inert(padding):
    values = torch.tensor([[-1.0, -0.5]])
    mask = torch.tensor([[True, True, False]])
    padded = torch.tensor([[-1.0, -0.5, padding]], requires_grad=True)
    reference = torch.tensor([[-0.2, -0.2, padding]])
    loss = segment_advantages(padded, mask, reference, alpha=0.1).sum()
    loss.backward()
    torch.testing.assert_close(loss, segment_advantages(values, FULL, reference[:, :2], alpha=0.1).sum())
    assert padded.grad is not None
    torch.testing.assert_close(padded.grad, torch.tensor([[0.1, 0.1, 0.0]]))


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_finite_at_extremes(size):
    for chosen, rejected in ((-size, 0.0), (0.0, -size), (-size, -size)):
        values = torch.tensor([[chosen, chosen]], requires_grad=True), torch.tensor([[rejected, rejected]])
        loss = cpl_loss(*values, FULL, FULL)
        loss.backward()
        assert torch.isfinite(loss)
        assert values[0].grad is not None
        assert torch.isfinite(values[0].grad).all()


def test_a_tie_is_the_expectation_over_both_labels():
    a, b = torch.tensor([0.3]), torch.tensor([-0.8])
    tie = contrastive_preference_loss(a, b, torch.tensor([0.5]))
    mean = (contrastive_preference_loss(a, b) + contrastive_preference_loss(b, a)) / 2
    torch.testing.assert_close(tie, mean)


def test_a_tie_pulls_equally_likely_segments_together():
    a = torch.tensor([0.4], requires_grad=True)
    b = torch.tensor([-0.4], requires_grad=True)
    contrastive_preference_loss(a, b, torch.tensor([0.5]), conservative_bias=1.0).backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.item() > 0 > b.grad.item()


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 1.0), st.floats(0.01, 1.0))
def test_soft_label_is_linear_in_its_weight(a, b, weight, bias):
    a, b = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    soft = contrastive_preference_loss(
        a, b, torch.tensor([weight], dtype=torch.float64), conservative_bias=bias
    )
    right = contrastive_preference_loss(a, b, conservative_bias=bias)
    wrong = contrastive_preference_loss(b, a, conservative_bias=bias)
    torch.testing.assert_close(soft, weight * right + (1 - weight) * wrong)


def test_accuracy_is_of_pairs_with_a_label():
    margins, weights = torch.tensor([1.0, -2.0, 0.0, 3.0, -1.0]), torch.tensor([1.0, 0.9, 0.6, 0.5, 0.5])
    assert labelled_accuracy(margins, weights) == pytest.approx((1 + 0 + 0.5) / 3)
    assert labelled_accuracy(margins[3:], weights[3:]) is None
