import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from pluralign.losses.bayesian_irl import (
    TokenTerms,
    ava_demonstration_loss,
    ava_preference_loss,
    avril_loss,
    expected_return_loss,
    kl_to_standard_normal,
    literal_expected_return_loss,
    log_normal_density,
    td_errors,
)
from pluralign.losses.likelihood import (
    clamped_negative,
    contrastive_sft_loss,
    literal_negative,
    sft_loss,
    unlikelihood,
)

NEGATIVES = [unlikelihood, literal_negative, clamped_negative]
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def _golden_terms():
    """Two branches, of two tokens and of one."""
    return TokenTerms(
        log_policy=_tensor(0.5, 0.25, 0.2).log(),
        q_values=_tensor(3.0, 1.0, 4.0),
        mean=_tensor(0.5, 0.0, 1.0),
        sigma=_tensor(1.0, 1.0, 2.0),
        owner=torch.tensor([0, 0, 1]),
    )


# Of these terms: (mu^2 + sigma^2 - 1 - 2 ln sigma) / 2 is 1/8, 0 and 2 - ln 2. The one temporal difference is
# 3 - 1/2 at gamma 1/2, two deviations from its mean.
GOLDEN_KL = 0.125 + 2 - math.log(2)
GOLDEN_TD = -2 - HALF_LOG_TAU


def _random_terms(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(4, sum(lengths), generator=generator, dtype=torch.float64)
    return TokenTerms(
        log_policy=-(draws[0].abs() + 0.01),
        q_values=draws[1] * 3,
        mean=draws[2],
        sigma=(draws[3] * 0.3).exp(),
        owner=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
    )


def _leaves(terms):
    """The same terms as leaves, and these in the order of the fields."""
    names = [field.name for field in fields(terms) if field.name != "owner"]
    leaves = {name: getattr(terms, name).clone().requires_grad_() for name in names}
    return replace(terms, **leaves), list(leaves.values())


def _part(terms, branches):
    """The terms of some branches, alone."""
    kept = torch.isin(terms.owner, torch.tensor(branches))
    owner = torch.unique_consecutive(terms.owner[kept], return_inverse=True)[1]
    values = {f.name: getattr(terms, f.name)[kept] for f in fields(terms) if f.name != "owner"}
    return TokenTerms(owner=owner, **values)


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


def test_ava_demonstration_golden_value():
    loss = ava_demonstration_loss(
        _golden_terms(), beta=2.0, gamma=0.5, td_weight=3.0, kl_weight=0.5, tokens=4.0
    )
    likelihood = 2.0 * (math.log(2) + math.log(4) + math.log(5))
    assert loss.item() == pytest.approx((likelihood + 0.5 * GOLDEN_KL - 3.0 * GOLDEN_TD) / 4.0)


@pytest.mark.parametrize(
    ("negative", "penalty"),
    [
        (unlikelihood, -math.log(0.8)),
        (literal_negative, math.log(0.2)),
        (lambda log_policy: clamped_negative(log_policy, floor=-1.0), -1.0),
        (None, 0.0),
    ],
)
def test_ava_preference_golden_value(negative, penalty):
    loss = ava_preference_loss(
        _golden_terms(), torch.tensor([True, False]), negative,
        beta=2.0, gamma=0.5, td_weight=3.0, kl_weight=0.5, tokens=4.0,
    )  # fmt: skip
    likelihood = 2.0 * (math.log(2) + math.log(4) + penalty)
    assert loss.item() == pytest.approx((likelihood + 0.5 * GOLDEN_KL - 3.0 * GOLDEN_TD) / 4.0)


def test_ava_demonstration_without_irl_is_sft_in_value_and_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 11, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([1, 4, 0, 10, 3, 3])
    terms = replace(
        _random_terms([4, 2]), log_policy=logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    )
    loss = ava_demonstration_loss(terms, td_weight=0.0, kl_weight=0.0, tokens=6.0)
    torch.testing.assert_close(loss, sft_loss(terms.log_policy, tokens=6.0))
    expected = cross_entropy(logits, targets)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))


@pytest.mark.parametrize("negative", NEGATIVES)
def test_ava_preference_without_irl_is_contrastive_sft_in_value_and_gradient(negative):
    terms = _random_terms([3, 5, 2, 1])
    chosen = torch.tensor([True, False, False, True])
    values = terms.log_policy.clone().requires_grad_()
    ava = ava_preference_loss(
        replace(terms, log_policy=values), chosen, negative,
        beta=0.7, td_weight=0.0, kl_weight=0.0, tokens=9.0,
    )  # fmt: skip
    sft = contrastive_sft_loss(values, chosen[terms.owner], negative, beta=0.7, tokens=9.0)
    torch.testing.assert_close(ava, sft)
    torch.testing.assert_close(torch.autograd.grad(ava, values), torch.autograd.grad(sft, values))


def test_ava_preference_of_chosen_branches_alone_is_ava_demonstration():
    terms, leaves = _leaves(_random_terms([3, 4]))
    settings = {"beta": 0.5, "gamma": 0.9, "td_weight": 0.3, "kl_weight": 0.2, "tokens": 7.0}
    preference = ava_preference_loss(terms, torch.tensor([True, True]), literal_negative, **settings)
    demonstration = ava_demonstration_loss(terms, **settings)
    torch.testing.assert_close(preference, demonstration)
    torch.testing.assert_close(
        torch.autograd.grad(preference, leaves), torch.autograd.grad(demonstration, leaves)
    )


@pytest.mark.parametrize("negative", [*NEGATIVES, None])
def test_ava_gradient_signs_in_the_likelihood(negative):
    terms, leaves = _leaves(_random_terms([3, 4]))
    loss = ava_preference_loss(terms, torch.tensor([True, False]), negative, tokens=7.0)
    gradient = torch.autograd.grad(loss, leaves)[0]
    torch.testing.assert_close(gradient[:3], torch.full((3,), -1 / 7, dtype=torch.float64))
    if negative is None:
        assert (gradient[3:] == 0).all()
    else:
        assert (gradient[3:] > 0).all()


def test_prior_and_temporal_difference_hold_on_both_sides():
    terms, leaves = _leaves(_random_terms([3, 4]))
    weights = {"gamma": 0.9, "td_weight": 0.7, "kl_weight": 0.4, "tokens": 7.0}
    rows = [
        torch.autograd.grad(ava_preference_loss(terms, chosen, None, **weights), leaves)[1:]
        for chosen in (torch.tensor([True, False]), torch.tensor([False, True]))
    ]
    torch.testing.assert_close(rows[0], rows[1])
    assert all((gradient != 0).any() for gradient in rows[0])


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.data())
def test_parts_of_a_step_add_up(lengths, data):
    terms = _random_terms(lengths)
    chosen = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    cut = data.draw(st.integers(1, len(lengths) - 1))
    settings = {"beta": 0.5, "gamma": 0.9, "td_weight": 0.3, "kl_weight": 0.2, "tokens": 13.0}
    first, second = list(range(cut)), list(range(cut, len(lengths)))
    whole = ava_preference_loss(terms, chosen, unlikelihood, **settings)
    parts = [
        ava_preference_loss(_part(terms, b), chosen[b], unlikelihood, **settings) for b in (first, second)
    ]
    torch.testing.assert_close(whole, parts[0] + parts[1])
    demonstrated = [ava_demonstration_loss(_part(terms, b), **settings) for b in (first, second)]
    torch.testing.assert_close(ava_demonstration_loss(terms, **settings), demonstrated[0] + demonstrated[1])


def test_other_branches_are_inert():
    terms, leaves = _leaves(_random_terms([3, 4]))
    alone, own = _leaves(_part(terms, [0]))
    loss = ava_preference_loss(terms, torch.tensor([True, False]), unlikelihood, tokens=7.0)
    expected = torch.autograd.grad(ava_demonstration_loss(alone, tokens=7.0), own)
    for found, wanted in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        torch.testing.assert_close(found[:3], wanted)


def test_certain_chosen_tokens_never_meet_the_penalty():
    # - log(1 - p) without a clamp is infinite at p = 1, and so is its gradient.
    terms, leaves = _leaves(replace(_random_terms([2, 2]), log_policy=_tensor(0.0, 0.0, -1.0, -1.0)))
    loss = ava_preference_loss(
        terms, torch.tensor([True, False]), lambda log_policy: -torch.log1p(-log_policy.exp()), tokens=4.0
    )
    gradient = torch.autograd.grad(loss, leaves)[0]
    odds = 1 / (math.e - 1)
    torch.testing.assert_close(gradient, _tensor(-1.0, -1.0, odds, odds) / 4)


@pytest.mark.parametrize("sigma", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("negative", NEGATIVES)
@pytest.mark.parametrize("log_policy", [-1e4, 0.0])
def test_ava_is_finite_at_extremes(sigma, negative, log_policy):
    extreme = TokenTerms(
        log_policy=torch.full((4,), log_policy),
        q_values=torch.tensor([1e4, -1e4, -1e4, 1e4]),
        mean=torch.tensor([-1e4, 1e4, 1e4, -1e4]),
        sigma=torch.full((4,), sigma),
        owner=torch.tensor([0, 0, 1, 1]),
    )
    terms, leaves = _leaves(extreme)
    loss = ava_preference_loss(terms, torch.tensor([True, False]), negative, tokens=4.0)
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
