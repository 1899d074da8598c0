"""Values: lambda-returns by hand, HL-Gauss against the error function, and who moves whom."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.losses.value import (
    Bins,
    gae_targets,
    hl_gauss_loss,
    hl_gauss_mean,
    hl_gauss_targets,
    value_loss,
)

BINS = Bins(-2.0, 2.0, 41)


def flat(*lists):
    return torch.tensor([value for one in lists for value in one]), torch.tensor([len(one) for one in lists])


def test_targets_of_three_tokens_by_hand():
    values, lengths = flat([0.5, 0.2, 0.8])
    found = gae_targets(values, torch.tensor([1.0]), lengths)
    # G_3 = r; G_2 = .05 V_3 + .95 G_3; G_1 = .05 V_2 + .95 G_2.
    expected = [0.05 * 0.2 + 0.95 * (0.05 * 0.8 + 0.95), 0.05 * 0.8 + 0.95, 1.0]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert found.tolist() == pytest.approx([0.9505, 0.99, 1.0])


def by_advantages(values, reward, lam):
    """V + GAE by its definition: sums of discounted temporal differences."""
    following = [*values[1:], None]
    deltas = [reward - v if n is None else n - v for v, n in zip(values, following, strict=True)]
    return [v + sum(lam**k * delta for k, delta in enumerate(deltas[t:])) for t, v in enumerate(values)]


@given(
    st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=6), min_size=1, max_size=4), st.floats(0, 1),
    st.integers(0, 100),
)  # fmt: skip
def test_ragged_targets_are_those_of_generalised_advantages(sequences, lam, seed):
    rewards = torch.randn(len(sequences), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values, lengths = flat(*sequences)
    found = gae_targets(values.double(), rewards, lengths, lam=lam)
    expected = [g for s, r in zip(sequences, rewards, strict=True) for g in by_advantages(s, float(r), lam)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-6)


def test_discounted_targets_by_hand():
    values, lengths = flat([0.5, 0.2, 0.8], [7.0])
    rewards = torch.tensor([2.0, -2.0])
    # With lambda 1: gamma^(n - t) r.
    found = gae_targets(values, rewards, lengths, lam=1.0, gamma=0.9)
    torch.testing.assert_close(found, torch.tensor([0.81 * 2, 0.9 * 2, 2.0, -2.0]))
    found = gae_targets(values, rewards, lengths, lam=0.75, gamma=0.5)
    second = 0.5 * (0.25 * 0.8 + 0.75 * 2)
    expected = [0.5 * (0.25 * 0.2 + 0.75 * second), second, 2.0, -2.0]
    torch.testing.assert_close(found, torch.tensor(expected))
    for lam in (0.0, 0.3, 0.95, 1.0):
        assert torch.equal(
            gae_targets(values, rewards, lengths, lam=lam),
            gae_targets(values, rewards, lengths, lam=lam, gamma=1.0),
        )


def test_the_ends_of_lambda():
    values, lengths = flat([0.5, 0.2, 0.8], [7.0])
    rewards = torch.tensor([1.0, -2.0])
    assert gae_targets(values, rewards, lengths, lam=1.0).tolist() == [1.0, 1.0, 1.0, -2.0]
    found = gae_targets(values, rewards, lengths, lam=0.0)
    torch.testing.assert_close(found, torch.tensor([0.2, 0.8, 1.0, -2.0]))


def test_another_sequence_changes_no_target():
    values, lengths = flat([0.5, 0.2, 0.8], [3.0, -4.0])
    changed = values.clone()
    changed[3:] = 1e6
    found = [gae_targets(v, torch.tensor([1.0, 2.0]), lengths)[:3] for v in (values, changed)]
    assert torch.equal(*found)


def test_targets_carry_no_gradient():
    values = torch.tensor([0.5, 0.2], requires_grad=True)
    targets = gae_targets(values, torch.tensor([1.0]), torch.tensor([2]))
    assert not targets.requires_grad
    value_loss(values, targets, tokens=2).backward()
    # Up to the reward, each: (V - G) / 2.
    torch.testing.assert_close(values.grad, (values.detach() - targets) / 2)
    assert (values.grad < 0).all()


def test_squared_error_golden_value():
    loss = value_loss(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]), tokens=4.0)
    assert loss.item() == pytest.approx((0.5 * 1 + 0.5 * 4) / 4)


def test_bins_by_the_error_function():
    bins = Bins(0.0, 3.0, 3, smoothing=0.75)

    def phi(x):
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    y, s = 1.2, 0.75
    masses = [phi((i + 1 - y) / s) - phi((i - y) / s) for i in range(3)]
    expected = torch.tensor([mass / sum(masses) for mass in masses])
    torch.testing.assert_close(hl_gauss_targets(torch.tensor([y]), bins)[0], expected)
    logits = torch.tensor([[0.0, 1.0, -1.0]])
    loss = hl_gauss_loss(logits, torch.tensor([y]), bins, tokens=1.0)
    assert loss.item() == pytest.approx(-float((expected * logits[0].log_softmax(-1)).sum()), rel=1e-6)
    assert hl_gauss_mean(logits, bins).item() == pytest.approx(
        float((logits[0].softmax(-1) * torch.tensor([0.5, 1.5, 2.5])).sum())
    )


@given(st.floats(-1.7, 1.7))
def test_the_mean_of_a_target_is_the_target(y):
    targets = hl_gauss_targets(torch.tensor([y], dtype=torch.float64), BINS)
    assert float(targets.sum()) == pytest.approx(1)
    assert float(targets @ BINS.centres().double()) == pytest.approx(y, abs=5e-3)
    # And the logits of a target stand for it.
    assert hl_gauss_mean(targets.log(), BINS).item() == pytest.approx(y, abs=5e-3)


def test_what_lies_outside_counts_as_the_range_s_end():
    found = hl_gauss_targets(torch.tensor([2.0, 1e9, -2.0, -1e9]), BINS)
    assert torch.isfinite(found).all()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])
    assert found[0].argmax() == 40
    assert found[2].argmax() == 0


def test_equal_logits_are_the_middle_and_the_loss_pulls_to_the_target():
    logits = torch.zeros(1, 41, requires_grad=True)
    assert hl_gauss_mean(logits, BINS).item() == pytest.approx(0.0, abs=1e-6)
    hl_gauss_loss(logits, torch.tensor([1.0]), BINS, tokens=1.0).backward()
    stepped = logits.detach() - logits.grad
    assert hl_gauss_mean(stepped, BINS).item() > 0.02


def test_classification_is_finite_at_extremes_and_tokens_are_their_own():
    logits = torch.full((2, 41), -1e4)
    logits[0, 0] = logits[1, 40] = 1e4
    logits.requires_grad_()
    loss = hl_gauss_loss(logits, torch.tensor([1.5, -1e8]), BINS, tokens=2.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    alone = hl_gauss_loss(logits[:1], torch.tensor([1.5]), BINS, tokens=2.0)
    other = hl_gauss_loss(logits[1:], torch.tensor([-1e8]), BINS, tokens=2.0)
    torch.testing.assert_close(alone + other, loss)
