import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.losses.bayesian_irl import (
    avril_loss,
    expected_return_loss,
    kl_to_standard_normal,
    literal_expected_return_loss,
    log_normal_density,
    td_errors,
)
from pluralign.losses.reward import bradley_terry

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_kl_golden_value():
    kl = kl_to_standard_normal(_tensor(0.0, 1.0), _tensor(1.0, 2.0))
    torch.testing.assert_close(kl, _tensor(0.0, 2 - math.log(2)))


def test_density_golden_value():
    density = log_normal_density(_tensor(3.0), _tensor(1.0), _tensor(2.0))
    torch.testing.assert_close(density, _tensor(-0.5 - math.log(2) - HALF_LOG_TAU))


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(1e-2, 1e2))
def test_gaussians_are_torch_s(x, mean, sigma):
    normal = torch.distributions.Normal(_tensor(mean), _tensor(sigma))
    torch.testing.assert_close(
        log_normal_density(_tensor(x), _tensor(mean), _tensor(sigma)), normal.log_prob(_tensor(x))
    )
    standard = torch.distributions.Normal(_tensor(0.0), _tensor(1.0))
    torch.testing.assert_close(
        kl_to_standard_normal(_tensor(mean), _tensor(sigma)),
        torch.distributions.kl_divergence(normal, standard),
    )


def test_td_errors_stay_within_branches():
    delta, has_next = td_errors(_tensor(5.0, 3.0, 2.0, 7.0, 1.0), torch.tensor([0, 0, 0, 1, 1]), 0.5)
    assert has_next.tolist() == [True, True, False, True, False]
    torch.testing.assert_close(delta[has_next], _tensor(3.5, 2.0, 6.5))


def test_td_errors_of_one_token_and_of_none():
    assert td_errors(_tensor(2.0), torch.tensor([0]), 1.0)[1].tolist() == [False]
    nothing = torch.zeros(0, dtype=torch.long)
    delta, has_next = td_errors(torch.zeros(0), nothing, 1.0)
    assert delta.shape == has_next.shape == (0,)


def test_no_gradient_from_a_branch_to_the_next():
    q_values = _tensor(1.0, 2.0, math.nan).requires_grad_()
    delta, _ = td_errors(q_values, torch.tensor([0, 0, 1]), 0.5)
    (gradient,) = torch.autograd.grad(delta[:2].sum(), q_values)
    torch.testing.assert_close(gradient, _tensor(1.0, 1.0 - 0.5, 0.0))


def test_avril_golden_value():
    loss = avril_loss(
        _tensor(0.5, 0.25).log(), _tensor(3.0, 99.0), _tensor(1.0, 0.0), _tensor(2.0, 1.0),
        torch.tensor([True, False]), td_weight=3.0, kl_weight=0.5,
    )  # fmt: skip
    likelihood = math.log(2) + math.log(4)
    kl = 0.5 * (2 - math.log(2))
    td = 3.0 * (0.5 + math.log(2) + HALF_LOG_TAU)
    assert loss.item() == pytest.approx((likelihood + kl + td) / 2)


def test_avril_gradient_signs():
    log_policy, mean = _tensor(-1.0).requires_grad_(), _tensor(0.0).requires_grad_()
    loss = avril_loss(log_policy, _tensor(2.0), mean, _tensor(1.0), torch.tensor([True]))
    towards_action, towards_difference = torch.autograd.grad(loss, [log_policy, mean])
    assert towards_action.item() == -1.0
    # The prior holds a mean of 0 with no force; the likelihood pulls it to the temporal difference.
    assert towards_difference.item() == -2.0


@pytest.mark.parametrize("junk", [0.0, 1e30, math.inf, math.nan])
def test_avril_at_an_episode_s_end_has_no_temporal_difference(junk):
    mean, sigma = _tensor(0.5).requires_grad_(), _tensor(2.0).requires_grad_()
    td_error = _tensor(junk).requires_grad_()
    loss = avril_loss(_tensor(-1.0), td_error, mean, sigma, torch.tensor([False]))
    gradients = torch.autograd.grad(loss, [mean, sigma, td_error])
    assert loss.item() == pytest.approx(1 + (0.25 + 4 - 1 - 2 * math.log(2)) / 2)
    # Of the prior alone: mu and sigma - 1 / sigma.
    torch.testing.assert_close(gradients, (_tensor(0.5), _tensor(1.5), _tensor(0.0)))


@pytest.mark.parametrize("sigma", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("error", [1e4, -1e4])
def test_avril_is_finite_at_extremes(sigma, error):
    a, b, c, d = leaves = [
        torch.tensor([value] * 2, requires_grad=True) for value in (-1e4, error, -error, sigma)
    ]
    loss = avril_loss(a, b, c, d, torch.tensor([True, False]))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (expected_return_loss, (math.log(4 / 3) + math.log(4)) / 2),
        (literal_expected_return_loss, -(3 / 4 + 1 / 4) / 2),
    ],
)
def test_expected_return_golden_values(loss, expected):
    found = loss(_tensor(2 + math.log(3), 0.0), _tensor(2.0, math.log(3)))
    assert found.item() == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=5))
def test_expected_return_is_bradley_terry_in_value_and_gradient(pairs):
    sides = [_tensor(*side).requires_grad_() for side in zip(*pairs, strict=True)]
    found, expected = expected_return_loss(*sides), bradley_terry(*sides).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, sides), torch.autograd.grad(expected, sides))


@pytest.mark.parametrize("loss", [expected_return_loss, literal_expected_return_loss])
def test_expected_return_gradient_signs(loss):
    pair = [_tensor(0.3).requires_grad_(), _tensor(0.9).requires_grad_()]
    chosen, rejected = torch.autograd.grad(loss(*pair), pair)
    assert chosen.item() < 0 < rejected.item()


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("loss", [expected_return_loss, literal_expected_return_loss])
def test_expected_return_is_finite_at_extremes(loss, size):
    pair = [torch.tensor([size], requires_grad=True), torch.tensor([-size], requires_grad=True)]
    value = loss(*pair)
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(value, pair))


def test_the_literal_expected_return_saturates_on_wrong_pairs():
    chosen = _tensor(-20.0).requires_grad_()
    (literal,) = torch.autograd.grad(literal_expected_return_loss(chosen, _tensor(0.0)), chosen)
    (logarithmic,) = torch.autograd.grad(expected_return_loss(chosen, _tensor(0.0)), chosen)
    assert abs(literal.item()) < 1e-8
    assert logarithmic.item() == pytest.approx(-1.0, abs=1e-8)
