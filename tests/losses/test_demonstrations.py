"""Losses of demonstrations: occupancy weights, and the discriminator's closed optimum."""

import math

import pytest
import torch

from pluralign.losses.adversarial import discriminator_loss
from pluralign.losses.likelihood import occupancy_weights, sft_loss


def test_occupancy_weights_by_hand():
    found = occupancy_weights(torch.tensor([4, 1, 2]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.75, 0.5, 0.25, 1.0, 1.0, 0.5]))


def test_occupancy_weights_count_the_pairs_that_a_token_leads_to():
    # Eq. 27-28: sum over k of log pi(y_0 .. y_k), which has token t in T - t of its T terms.
    log_probs = torch.log(torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    nested = sum(log_probs[: k + 1].sum() for k in range(5)) / 5
    loss = sft_loss(log_probs, tokens=1.0, weights=occupancy_weights(torch.tensor([5])).double())
    torch.testing.assert_close(-loss, nested)


def test_plain_sft_is_weight_one():
    log_probs = -torch.arange(1.0, 5.0)
    assert sft_loss(log_probs, tokens=2.0).item() == 5.0
    assert sft_loss(log_probs, tokens=2.0, weights=torch.tensor([1.0, 0.0, 0.0, 0.5])).item() == 1.5


def test_discriminator_golden_value():
    # sigma(ln 3) = 3/4: -ln 3/4 for the positive, -ln 1/4 and -ln 1/2 for the negatives.
    loss = discriminator_loss(torch.tensor([math.log(3)]), torch.tensor([math.log(3), 0.0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + (math.log(4) + math.log(2)) / 2) / 2)


def test_discriminator_optimum_is_the_log_ratio():
    # Eq. 9: weights stand for the two sources' probabilities of four outcomes.
    positive = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    negative = torch.tensor([0.4, 0.1, 0.25, 0.25], dtype=torch.float64)
    logits = (positive / negative).log().requires_grad_()
    loss = discriminator_loss(logits, logits, positive, negative)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)


def test_discriminator_is_unpaired():
    a, b = torch.randn(6), torch.randn(6)
    torch.testing.assert_close(discriminator_loss(a, b), discriminator_loss(a, b.flip(0)))


def test_discriminator_gradient_sign_and_extremes():
    positive, negative = (
        torch.tensor([1e4, -1e4]).requires_grad_(),
        torch.tensor([1e4, -1e4]).requires_grad_(),
    )
    loss = discriminator_loss(positive, negative)
    assert loss.item() == pytest.approx(5000.0)
    found = torch.autograd.grad(loss, [positive, negative])
    assert all(torch.isfinite(gradient).all() for gradient in found)
    assert (found[0] <= 0).all()
    assert (found[1] >= 0).all()
