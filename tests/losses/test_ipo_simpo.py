"""IPO and SimPO as losses of log-probabilities."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.losses.contrastive import (
    dpo,
    ipo,
    label_expectation,
    modpo,
    simpo,
)


def _completions(seed=0):
    """Log-probabilities of whole completions: chosen, rejected, and both under the reference."""
    generator = torch.Generator().manual_seed(seed)
    return (-40 * torch.rand(4, 16, generator=generator, dtype=torch.float64)).requires_grad_().unbind()


def test_ipo_golden_value():
    # Azar et al. 2024, eq. 17: h = (-1 + 3) - (-2 + 1) = 3, 1 / (2 tau) = 5; and h = -2, a label to overcome.
    losses = ipo(*torch.tensor([[-1.0, -4.0], [-2.0, -1.0], [-3.0, -2.0], [-1.0, -1.0]]), tau=0.1)
    assert losses.tolist() == pytest.approx([(3 - 5) ** 2, (-2 - 5) ** 2])


def test_ipo_pulls_to_its_target_from_both_sides():
    """Below the target of 5 nats the chosen completion gains, above it loses; at it nothing moves."""
    chosen = torch.tensor([-10.0, -5.0, 0.0], requires_grad=True)
    known = torch.tensor([-10.0, -10.0, -10.0])
    (gradient,) = torch.autograd.grad(ipo(chosen, known, known, known, tau=0.1).sum(), chosen)
    assert gradient.tolist() == pytest.approx([-10.0, 0.0, 10.0])


@given(st.lists(st.tuples(*[st.floats(-1e4, 0)] * 4), min_size=1, max_size=4), st.floats(1e-3, 10))
def test_ipo_is_finite_and_its_reference_gets_no_gradient(rows, tau):
    columns = [torch.tensor(column, requires_grad=True) for column in zip(*rows, strict=True)]
    losses = ipo(*columns, tau=tau)
    assert torch.isfinite(losses).all()
    gradients = torch.autograd.grad(losses.sum(), columns, allow_unused=True)
    assert torch.isfinite(gradients[0]).all()
    torch.testing.assert_close(gradients[0], -gradients[1])
    assert gradients[2] is None
    assert gradients[3] is None


def test_simpo_golden_value():
    # Meng et al. 2024, eq. 6: 2 (-1 + 1.5) - 0.4 = 0.6; and 2 (-2 + 1) - 0.4 = -2.4.
    losses = simpo(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0]), beta=2.0, gamma=0.4)
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-0.6)), math.log1p(math.exp(2.4))])


@given(st.lists(st.tuples(*[st.floats(-1e4, 0)] * 2), min_size=1, max_size=4))
def test_simpo_prefers_the_chosen_completion_and_stays_finite(rows):
    columns = [torch.tensor(column, requires_grad=True) for column in zip(*rows, strict=True)]
    losses = simpo(*columns)
    assert torch.isfinite(losses).all()
    chosen, rejected = torch.autograd.grad(losses.sum(), columns)
    assert bool((chosen <= 0).all())
    torch.testing.assert_close(chosen, -rejected)


@given(st.floats(0.5, 1.0))
def test_labels_that_may_be_wrong_are_averaged_over(weight):
    """By hand for one pair: w L(y+, y-) + (1 - w) L(y-, y+)."""
    losses, flipped = torch.tensor([0.25]), torch.tensor([2.0])
    found = label_expectation(losses, flipped, torch.tensor([weight]))
    assert found.item() == pytest.approx(weight * 0.25 + (1 - weight) * 2.0, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "columns", "field"),
    [
        (partial(dpo, beta=0), 4, "beta"),
        (partial(ipo, tau=-1), 4, "tau"),
        (partial(simpo, beta=math.nan), 2, "beta"),
        (partial(modpo, weight=0), 6, "weight"),
    ],
)
def test_settings_that_are_not_positive_are_refused(loss, columns, field):
    with pytest.raises(InputError, match=f"field '{field}': must be above 0"):
        loss(*torch.zeros(columns, 1))


def test_ipo_with_soft_labels_is_least_at_the_labels_share_of_its_target():
    # w (h - a)^2 + (1 - w) (-h - a)^2 is least at h = (2 w - 1) a; a = 5.
    p = torch.tensor([0.8, 0.5], dtype=torch.float64)
    chosen = ((2 * p - 1) * 5).requires_grad_()
    rest = list(torch.zeros(3, 2, dtype=torch.float64))
    loss = label_expectation(ipo(chosen, *rest), ipo(rest[0], chosen, *rest[1:]), p)
    torch.testing.assert_close(torch.autograd.grad(loss, chosen)[0], torch.zeros(2, dtype=torch.float64))


def test_simpo_without_margin_is_dpo_with_a_constant_reference():
    values = _completions()[:2]
    constant = torch.full((16,), -3.0, dtype=torch.float64)
    one, other = simpo(*values, beta=0.3, gamma=0.0), dpo(*values, constant, constant, beta=0.3)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), values) for loss in (one, other)))
