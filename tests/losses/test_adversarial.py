import math
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare, wilcoxon

from pluralign.losses.adversarial import (
    AIRL,
    FAIRL,
    GAIL,
    Divergence,
    airl_reward,
    alpha_divergence,
    alpha_reward,
    discriminator_loss,
    divergence_bound,
    f_divergence,
    fairl_reward,
)

sys.path.insert(0, str(Path(__file__).parent))
import adversarial_toy as toy

DIVERGENCES = [AIRL, GAIL, FAIRL, alpha_divergence(0.5), alpha_divergence(2.0)]
PUBLISHED_FAIRL = Divergence("published", FAIRL.generator, lambda h: -h * h.exp(), FAIRL.witness)
each = pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda d: d.name)


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_discriminator_golden_value():
    # sigma(ln 3) = 3/4, sigma(0) = 1/2, 1 - sigma(ln 3) = 1/4; each side a mean, then halved.
    loss = discriminator_loss(_tensor(math.log(3), 0.0), _tensor(math.log(3)))
    assert loss.item() == pytest.approx(((math.log(4 / 3) + math.log(2)) / 2 + math.log(4)) / 2)


def test_discriminator_weights_are_of_a_mean():
    loss = discriminator_loss(_tensor(math.log(3), 0.0), _tensor(0.0, 9.0), _tensor(6, 2), _tensor(3, 0))
    assert loss.item() == pytest.approx((0.75 * math.log(4 / 3) + 0.25 * math.log(2) + math.log(2)) / 2)


def test_the_best_discriminator_is_the_log_ratio():
    p, q = _tensor(0.7, 0.2, 0.1), _tensor(0.1, 0.3, 0.6)
    h = (p / q).log().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator_loss(h, h, p, q), h)
    torch.testing.assert_close(slope, torch.zeros(3, dtype=torch.float64))
    # Demonstrations are pushed up and samples down.
    (up,) = torch.autograd.grad(discriminator_loss(h, h.detach(), p, q), h)
    (down,) = torch.autograd.grad(discriminator_loss(h.detach(), h, p, q), h)
    assert (up < 0).all()
    assert (down > 0).all()


# u = 2, so h = ln 2: f(u), u f'(u) - f(u) and f'(u) by hand; AIRL's and FAIRL's with their constants.
GOLDEN = {
    "airl": (-math.log(2), math.log(2), 1 / 2),
    "gail": (2 * math.log(2) - 3 * math.log(1.5), math.log(1.5), math.log(4 / 3)),
    "fairl": (2 * math.log(2), 2.0, 1 + math.log(2)),
    "alpha 0.5": (6 - 4 * math.sqrt(2), 2 * math.sqrt(2) - 2, 2 - math.sqrt(2)),
    "alpha 2": (1 / 4, 1 / 2, 3 / 8),
}


@each
def test_golden_values(divergence):
    u = _tensor(2.0)
    found = (divergence.generator(u), divergence.reward(u.log()), divergence.witness(u.log()))
    assert tuple(value.item() for value in found) == pytest.approx(GOLDEN[divergence.name])


@each
@given(logit=st.floats(-15, 15))
def test_reward_and_witness_are_those_of_the_generator(divergence, logit):
    h = _tensor(logit)
    u = h.exp().requires_grad_()
    f = divergence.generator(u)
    (slope,) = torch.autograd.grad(f, u)
    constant = {"airl": 1.0}.get(divergence.name, 0.0)
    expected = (u * slope - f).detach()
    torch.testing.assert_close(divergence.reward(h), expected + constant, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(divergence.witness(h), slope + constant, rtol=1e-7, atol=1e-7)


@given(logit=st.floats(-20, 20))
def test_alpha_ends_at_airl_and_fairl(logit):
    h = _tensor(logit)
    assert alpha_reward(h, 1.0).item() == airl_reward(h).item()
    torch.testing.assert_close(alpha_reward(h, 0.0) + 1, fairl_reward(h))
    for end in (0.0, 1.0):
        near, there = alpha_divergence(end + 1e-6), alpha_divergence(end)
        torch.testing.assert_close(near.reward(h), there.reward(h), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(near.witness(h), there.witness(h), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(near.generator(h.exp()), there.generator(h.exp()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [100.0, 1e6])
@each
def test_finite_and_rising_at_extremes(divergence, size):
    h = torch.tensor([-size, -1.0, 0.0, 1.0, size])
    for function in (divergence.reward, divergence.witness):
        found = function(h)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()
        assert (found.diff() > 0).all()
    assert torch.isfinite(divergence.reward(h) * 1000).all()


# p = (3, 1) / 4 and q = (1, 1) / 2; in GAIL's both against the middle (5, 3) / 8.
KNOWN = {
    "airl": math.log(4 / 3) / 2,
    "gail": 0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3) + (math.log(4 / 5) + math.log(4 / 3)) / 2,
    "fairl": 0.75 * math.log(3 / 2) + 0.25 * math.log(1 / 2),
    "alpha 0.5": 4 * (1 - math.sqrt(3 / 8) - math.sqrt(1 / 8)),
    "alpha 2": 1 / 6,
}


@each
def test_divergences_of_two_coins(divergence):
    p, q = _tensor([0.75, 0.25], [0.5, 0.5]).log(), _tensor([0.5, 0.5], [0.5, 0.5]).log()
    found = f_divergence(p, q, divergence.generator)
    assert found.tolist() == pytest.approx([KNOWN[divergence.name], 0.0])


def test_where_the_demonstrator_never_goes():
    p, q = _tensor(1.0, 0.0).log(), _tensor(0.5, 0.5).log()
    assert f_divergence(p, q, AIRL.generator).item() == math.inf
    assert f_divergence(p, q, FAIRL.generator).item() == pytest.approx(math.log(2))
    expected = 1.0 * math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert f_divergence(p, q, GAIL.generator).item() == pytest.approx(expected)
    assert f_divergence(p, q, alpha_divergence(0.5).generator).item() == pytest.approx(4 - 4 * math.sqrt(0.5))


@each
@given(off=st.lists(st.floats(-3, 3), min_size=2, max_size=2))
def test_logits_bound_the_divergence(divergence, off):
    best = _tensor(1.5, 0.5).log()
    demonstrations, samples = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1])
    bound = divergence_bound(best[demonstrations], best[samples], divergence).item()
    assert bound == pytest.approx(KNOWN[divergence.name])
    other = best + _tensor(*off)
    assert divergence_bound(other[demonstrations], other[samples], divergence).item() <= bound + 1e-9


def _gradients(divergence, theta, log_p):
    """(of D_f, of E_pi[reward] with the reward held fixed)."""
    theta = theta.requires_grad_()
    log_q = toy.autoregressive(theta)
    (down,) = torch.autograd.grad(toy.divergence_of(log_p, log_q, divergence), theta, retain_graph=True)
    rewards = divergence.reward((log_p - log_q).detach())
    (up,) = torch.autograd.grad((log_q.exp() * rewards).sum(-1).mean(), theta)
    return down, up


@each
def test_the_reward_s_policy_gradient_is_minus_the_divergence_s(divergence):
    log_p = toy.smooth_demonstrator()
    theta = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    down, up = _gradients(divergence, theta, log_p)
    assert down.norm() > 0.05
    torch.testing.assert_close(up, -down, rtol=1e-9, atol=1e-12)


def test_the_published_fairl_reward_is_not_its_gradient():
    log_p = toy.smooth_demonstrator()
    generator = torch.Generator().manual_seed(1)
    first = log_p.view(3, 3, 3).logsumexp(2)
    at_p = torch.cat([first, (log_p.view(3, 3, 3) - first[:, :, None]).flatten(1)], dim=1)
    near = at_p + 0.01 * torch.randn(3, 12, dtype=torch.float64, generator=generator)
    for reward, expected in ((FAIRL, 1.0), (PUBLISHED_FAIRL, -1.0)):
        down, up = _gradients(reward, near.clone(), log_p)
        assert torch.cosine_similarity(up.flatten(), -down.flatten(), dim=0).item() == pytest.approx(
            expected, abs=0.02
        )


def _total_variation(one, other):
    return ((one.exp() - other.exp()).abs().sum(-1) / 2).max().item()


@each
def test_the_loop_finds_a_demonstrator_that_it_can_be(divergence):
    log_p = toy.smooth_demonstrator()
    found = toy.imitate(log_p, toy.autoregressive, divergence)
    assert _total_variation(log_p, torch.full_like(log_p, 1 / 9).log()) > 0.3
    assert _total_variation(log_p, found.log_q) <= 0.01
    torch.testing.assert_close(found.logits, log_p - found.log_q, atol=1e-6, rtol=0)


def test_the_published_fairl_reward_does_not():
    log_p = toy.smooth_demonstrator()
    assert _total_variation(log_p, toy.imitate(log_p, toy.autoregressive, PUBLISHED_FAIRL).log_q) > 0.3


@each
def test_the_loop_finds_the_best_of_a_family_that_lacks_the_demonstrator(divergence):
    log_p = toy.two_habits()
    least, _ = toy.known_optimum(log_p, toy.factorised, divergence)
    found = toy.imitate(log_p, toy.factorised, divergence)
    assert least > 0.1
    assert toy.divergence_of(log_p, found.log_q, divergence).item() == pytest.approx(least, rel=0.01)


def test_mode_seeking_leaves_out_and_mass_covering_covers():
    log_p = toy.two_habits()
    airl, fairl = (toy.imitate(log_p, toy.factorised, d).log_q.exp() for d in (AIRL, FAIRL))
    never, seldom = log_p.exp() < 0.02, (log_p.exp() > 0.2) & (log_p.exp() < 0.5)
    assert airl[never].sum() < 0.3 * fairl[never].sum()
    assert (airl[seldom] < 0.001).all()
    assert (fairl[seldom] > 0.05).all()
    # And each is the better one by its own measure alone.
    for own, one, other in ((AIRL, airl, fairl), (FAIRL, fairl, airl)):
        measure = partial(toy.divergence_of, log_p, divergence=own)
        assert measure(one.log()) < measure(other.log())


@each
def test_the_loop_from_samples_comes_close(divergence):
    log_p = toy.smooth_demonstrator().repeat(10, 1)
    uniform = torch.full_like(log_p, 1 / 9).log()
    found = toy.imitate_from_samples(log_p, divergence)
    before, after = (f_divergence(log_p, q, divergence.generator) for q in (uniform, found))
    assert wilcoxon(after.numpy(), before.numpy(), alternative="less").pvalue < 1e-6
    assert after.mean() < 0.02 * before.mean()

    def taken_for_others(log_q):
        """How many of the 30 tables 150 samples tell from the demonstrator's, at the level of 5 %."""
        rows = torch.multinomial(log_q.exp(), 150, True, generator=torch.Generator().manual_seed(0))
        counts = torch.stack([row.bincount(minlength=9) for row in rows])
        expected = 150 * log_p.exp()
        return sum(
            chisquare(c, e).pvalue < 0.05 for c, e in zip(counts.numpy(), expected.numpy(), strict=True)
        )

    assert taken_for_others(uniform) == 30
    assert binomtest(taken_for_others(found), 30, 0.05, alternative="greater").pvalue > 0.01
