import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.losses.contrastive import (
    contrastive_preference_loss,
    cpl_loss,
    dpo,
    ipo,
    label_expectation,
    modpo,
    segment_advantages,
    simpo,
)

FULL = torch.ones(1, 2, dtype=torch.bool)


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


def test_golden_value():
    # A+ = 0.1 (ln .5 + .9 ln .25), A- = 0.1 (ln .1 + .9 ln .2); loss = ln(1 + exp(.5 A- - A+)).
    chosen, rejected = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.1, 0.2]]).log()
    better = 0.1 * (math.log(0.5) + 0.9 * math.log(0.25))
    worse = 0.1 * (math.log(0.1) + 0.9 * math.log(0.2))
    loss = cpl_loss(chosen, rejected, FULL, FULL, alpha=0.1, conservative_bias=0.5, gamma=0.9)
    assert loss.item() == pytest.approx(math.log1p(math.exp(0.5 * worse - better)), rel=1e-6)


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
