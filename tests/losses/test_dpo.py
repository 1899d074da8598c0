"""DPO and multi-objective DPO as losses of log-probabilities."""

import math

import pytest
import torch

from pluralign.losses.contrastive import (
    cpl_loss,
    dpo,
    label_expectation,
    modpo,
)


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, *, beta=0.1, weights=None):
    """What learners make of `dpo`: the mean over pairs, expected over labels that may be wrong."""
    losses = dpo(chosen, rejected, reference_chosen, reference_rejected, beta=beta)
    if weights is None:
        return losses.mean()
    flipped = dpo(rejected, chosen, reference_rejected, reference_chosen, beta=beta)
    return label_expectation(losses, flipped, weights)


def modpo_loss(*columns, weight, beta=0.1, weights=None):
    """The same of `modpo`, whose columns are chosen and rejected in turn."""
    losses = modpo(*columns, weight=weight, beta=beta)
    if weights is None:
        return losses.mean()
    flipped = modpo(*(columns[i] for i in (1, 0, 3, 2, 5, 4)), weight=weight, beta=beta)
    return label_expectation(losses, flipped, weights)


def _dpo_by_hand(chosen, rejected, chosen_reference, rejected_reference, beta):
    """Rafailov et al. 2023, eq. 7, written out with floats."""
    losses = [
        math.log1p(math.exp(-beta * ((c - cr) - (r - rr))))
        for c, r, cr, rr in zip(chosen, rejected, chosen_reference, rejected_reference, strict=True)
    ]
    return sum(losses) / len(losses)


def _completions(seed=0):
    """Log-probabilities of whole completions: chosen, rejected, and both under the reference."""
    generator = torch.Generator().manual_seed(seed)
    return (-40 * torch.rand(4, 16, generator=generator, dtype=torch.float64)).requires_grad_().unbind()


def test_dpo_golden_value():
    # 0.5 ((-1 + 3) - (-2 + 1)) = 1.5.
    loss = dpo_loss(*torch.tensor([[-1.0], [-2.0], [-3.0], [-1.0]]), beta=0.5)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1.5)))


def test_dpo_is_one_step_cpl_kl_without_bias_in_value_and_gradient():
    values = _completions()
    mask = torch.ones(16, 1, dtype=torch.bool)
    steps = [value[:, None] for value in values]
    cpl = cpl_loss(
        steps[0], steps[1], mask, mask,
        chosen_reference_log_probs=steps[2], rejected_reference_log_probs=steps[3],
        alpha=0.3, conservative_bias=1.0,
    )  # fmt: skip
    dpo = dpo_loss(values[0], values[1], values[2], values[3], beta=0.3)
    torch.testing.assert_close(dpo, cpl)
    assert dpo.item() == pytest.approx(_dpo_by_hand(*(v.tolist() for v in values), beta=0.3), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(dpo, values[:2]), torch.autograd.grad(cpl, values[:2]))


def test_dpo_at_the_reference():
    policy = torch.tensor([-3.0, -4.0, -70.0], requires_grad=True)
    reference = policy.detach()
    loss = dpo_loss(policy, reference - 5.0, reference, reference - 5.0, beta=0.2)
    assert loss.item() == pytest.approx(math.log(2))
    # Half of beta on each pair's mean share.
    torch.testing.assert_close(torch.autograd.grad(loss, policy)[0], torch.full((3,), -0.1 / 3))


def test_dpo_gradient_signs_and_none_into_the_reference():
    values = _completions()
    gradients = torch.autograd.grad(
        dpo_loss(values[0], values[1], values[2], values[3]), values, allow_unused=True
    )
    assert (gradients[0] < 0).all()
    torch.testing.assert_close(gradients[1], -gradients[0])
    assert gradients[2:] == (None, None)


def test_dpo_with_soft_labels_is_the_expectation_over_them():
    a, b, c, d = _completions()
    weights = torch.linspace(0, 1, 16, dtype=torch.float64)
    soft = dpo_loss(a, b, c, d, weights=weights)
    each = [
        weights[i] * dpo_loss(*(x[i : i + 1] for x in (a, b, c, d)))
        + (1 - weights[i]) * dpo_loss(*(x[i : i + 1] for x in (b, a, d, c)))
        for i in range(16)
    ]
    torch.testing.assert_close(soft, torch.stack(each).mean())


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_dpo_is_finite_at_extremes(size):
    values = torch.tensor([[size], [-size]], requires_grad=True)
    loss = dpo_loss(values[0], values[1], torch.tensor([-size]), torch.tensor([size]))
    assert loss.item() == pytest.approx(0.0 if size > 0 else 4e3)
    assert torch.isfinite(torch.autograd.grad(loss, values)[0]).all()


def test_modpo_golden_value():
    # r+ = (0.5 (-1 + 3) - 0.3) / 0.4 = 1.75 and r- = (0.5 (-2 + 1) + 0.2) / 0.4 = -0.75.
    values = torch.tensor([[-1.0], [-2.0], [-3.0], [-1.0], [0.3], [-0.2]])
    loss = modpo_loss(*values, weight=0.4, beta=0.5)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2.5)))


def test_modpo_with_all_the_weight_on_its_own_objective_is_dpo_to_the_last_bit():
    values = [value.float() for value in _completions()]
    rewards = 0.0 * torch.randn(2, 16)
    labels = torch.linspace(0.5, 1, 16)
    losses = (
        modpo_loss(*values, *rewards, weight=1.0, beta=0.3, weights=labels),
        dpo_loss(*values, beta=0.3, weights=labels),
    )
    assert torch.equal(*losses)
    gradients = [torch.autograd.grad(loss, values[:2], retain_graph=True) for loss in losses]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_modpo_gradient_signs_and_none_into_reference_and_margins():
    values = (*_completions(), *torch.randn(2, 16, dtype=torch.float64).requires_grad_().unbind())
    gradients = torch.autograd.grad(modpo_loss(*values, weight=0.5), values, allow_unused=True)
    assert (gradients[0] < 0).all()
    torch.testing.assert_close(gradients[1], -gradients[0])
    assert gradients[2:] == (None,) * 4


def test_modpo_is_least_where_the_implicit_reward_is_the_weighted_sum():
    # Labels right with probability p say that the own reward's gap is logit p; the margin's gap is -2.
    p, own, gap = torch.tensor([0.8], dtype=torch.float64), 0.3, -2.0
    implicit = own * p.logit() + (1 - own) * gap
    chosen = (implicit / 0.25).requires_grad_()
    rest = torch.zeros(3, 1, dtype=torch.float64)
    margins = torch.tensor([[(1 - own) * gap], [0.0]], dtype=torch.float64)
    loss = modpo_loss(chosen, *rest, *margins, weight=own, beta=0.25, weights=p)
    assert torch.autograd.grad(loss, chosen)[0].item() == pytest.approx(0, abs=1e-12)
    assert loss.item() == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))


def test_modpo_with_soft_labels_is_the_expectation_over_them():
    a, b, c, d = _completions()
    m, n = torch.randn(2, 16, dtype=torch.float64)
    weights = torch.linspace(0, 1, 16, dtype=torch.float64)
    soft = modpo_loss(a, b, c, d, m, n, weight=0.6, weights=weights)
    each = [
        weights[i] * modpo_loss(*(x[i : i + 1] for x in (a, b, c, d, m, n)), weight=0.6)
        + (1 - weights[i]) * modpo_loss(*(x[i : i + 1] for x in (b, a, d, c, n, m)), weight=0.6)
        for i in range(16)
    ]
    torch.testing.assert_close(soft, torch.stack(each).mean())


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_modpo_is_finite_at_extremes(size):
    values = torch.tensor([[size], [-size]], requires_grad=True)
    known = torch.tensor([[-size], [size], [-size], [size]])
    loss = modpo_loss(*values, *known, weight=1e-3)
    # The implicit reward's gap is 0.4 of the size, the margin's -2.
    assert loss.item() == pytest.approx(0.0 if size > 0 else 2.4e7)
    assert torch.isfinite(torch.autograd.grad(loss, values)[0]).all()


def test_one_step_cpl_kl_without_bias_is_dpo():
    generator = torch.Generator().manual_seed(0)
    values = -torch.rand(4, 16, 1, generator=generator, dtype=torch.float64) * 5
    mask = torch.ones(16, 1, dtype=torch.bool)
    loss = cpl_loss(
        values[0], values[1], mask, mask,
        chosen_reference_log_probs=values[2], rejected_reference_log_probs=values[3],
        alpha=0.3, conservative_bias=1.0,
    )  # fmt: skip
    by_hand = _dpo_by_hand(*(values[i, :, 0].tolist() for i in range(4)), beta=0.3)
    assert loss.item() == pytest.approx(by_hand, rel=1e-12)
