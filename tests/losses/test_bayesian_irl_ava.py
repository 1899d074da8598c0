import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from pluralign.losses.bayesian_irl import TokenTerms, ava_demonstration_loss, ava_preference_loss
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


@pytest.mark.parametrize("junk", [1e30, math.inf, math.nan])
def test_the_q_value_of_a_branch_of_one_token_is_inert(junk):
    # It has neither a successor nor a predecessor: no temporal difference reads it.
    golden = _golden_terms()
    losses, gradients = [], []
    for value in (4.0, junk):
        terms, leaves = _leaves(replace(golden, q_values=_tensor(3.0, 1.0, value).float()))
        loss = ava_demonstration_loss(terms, tokens=4.0)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, leaves))
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert gradients[1][1][2] == 0


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
