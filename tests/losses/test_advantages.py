"""Advantages of several rewards: golden values, and the identities between the ways to combine them."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.losses.advantages import (
    advantage_combination,
    centred_sum,
    dvao,
    fused_sum,
    gdpo,
    reward_combination,
)
from pluralign.losses.risk import mixed_value_at_risk

REWARDS = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 4.0], [1.0, 0.0]]], dtype=torch.float64)
HALF = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
ALL = (centred_sum, reward_combination, advantage_combination, gdpo, dvao)


def random_rewards(seed, prompts=5, samples=6, objectives=3):
    rng = np.random.default_rng(seed)
    rewards = torch.tensor(rng.normal(size=(prompts, samples, objectives)) * rng.uniform(0.1, 10, objectives))
    return rewards, torch.tensor(rng.dirichlet(np.ones(objectives), prompts))


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        (centred_sum, [-0.25, -0.75, 1.25, -0.25]),
        (reward_combination, [-1 / 3, -1, 5 / 3, -1 / 3]),
        (advantage_combination, [0.21132, -0.78868, 0.36603, 0.21132]),
        (dvao, [-0.22401, -0.67203, 1.12005, -0.22401]),
    ],
)
def test_golden_values(combine, expected):
    np.testing.assert_allclose(combine(REWARDS, HALF)[0], expected, atol=5e-6)


def test_gdpo_standardises_over_the_batch():
    rewards, weights = random_rewards(0)
    found = gdpo(rewards, weights)
    assert float(found.mean()) == pytest.approx(0, abs=1e-12)
    assert float(found.std(correction=0)) == pytest.approx(1)
    plain = advantage_combination(rewards, weights)
    np.testing.assert_allclose(found, plain / plain.std(correction=0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_dvao_is_the_weighted_sum_with_another_denominator(seed):
    rewards, weights = random_rewards(seed)
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    deviations = centred.square().mean(dim=1).sqrt()
    # The paper's form: standardised rewards, weights in proportion to w_k sd_k.
    shares = weights * deviations / (weights * deviations).sum(dim=1, keepdim=True)
    paper = torch.einsum("pso,po->ps", centred / deviations[:, None], shares)
    found, sum_ = dvao(rewards, weights), centred_sum(rewards, weights)
    np.testing.assert_allclose(found, paper, atol=1e-12)
    scale = (weights * deviations).sum(dim=1, keepdim=True)
    np.testing.assert_allclose(found * scale, sum_, atol=1e-12)
    spread = sum_.square().mean(dim=1, keepdim=True).sqrt()
    np.testing.assert_allclose(reward_combination(rewards, weights) * spread, sum_, atol=1e-12)
    # Proposition 2, and the mean square of proposition 1.
    assert (found.abs() <= reward_combination(rewards, weights).abs() + 1e-12).all()
    assert (reward_combination(rewards, weights) ** 2).mean() >= (
        advantage_combination(rewards, weights) ** 2
    ).mean()


def test_where_the_ways_are_equal():
    rewards, weights = random_rewards(3)
    deviations = (rewards - rewards.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True).sqrt()
    alike = rewards / deviations
    np.testing.assert_allclose(dvao(alike, weights), advantage_combination(alike, weights), atol=1e-12)
    one = rewards[:, :, :1] * torch.tensor([1.0, 3.0, 0.2])
    np.testing.assert_allclose(dvao(one, weights), reward_combination(one, weights), atol=1e-12)


@pytest.mark.parametrize("combine", ALL)
def test_equal_rewards_have_no_advantage(combine):
    assert (combine(torch.full((2, 4, 2), 0.1), torch.full((2, 2), 0.5)) == 0).all()
    mixed = torch.stack(
        [torch.full((4, 2), 0.1), torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.0, 0.0], [1.0, 1.0]])]
    )
    found = combine(mixed, torch.full((2, 2), 0.5))
    assert torch.isfinite(found).all()
    assert found[0].abs().max() < 1e-6 < found[1].abs().max()


@pytest.mark.parametrize("combine", [reward_combination, advantage_combination, dvao])
def test_rounding_is_no_difference(combine):
    # Means of equal rewards, and sums that are equal but for rounding, must not become advantages of 1.
    groups = [[[0.1, 0.2], [0.3, 0.0], [0.1, 0.2]], [[0.7, 0.7], [0.7, 0.7], [0.7, 0.7]]]
    rewards = torch.tensor(groups, dtype=torch.float64)
    found = combine(rewards, torch.ones(2, 2).double() * 0.5)
    assert (found[1] == 0).all()
    if combine is reward_combination:
        assert (found[0] == 0).all()


def test_opposite_rewards_blow_up_the_noise_of_grpo_alone():
    rng = np.random.default_rng(0)
    first = rng.normal(size=8)
    rewards = torch.tensor(np.stack([first, -first + 0.01 * rng.normal(size=8)], axis=1))[None]
    assert reward_combination(rewards, HALF).abs().max() > 1
    assert dvao(rewards, HALF).abs().max() < 0.02


def test_fused_baselines_by_hand():
    one = torch.ones(2, 1, dtype=torch.float64)
    # The second prompt's mean is 2 and its variance 2, so the sibling of a sample of the first one has an
    # error of 2: 6 differs from 2 by 4 and is believed by 1 - 2 / 16, and so is 8 by 1 - 2 / 36.
    rewards = torch.tensor([[8.0, 6.0], [1.0, 3.0]], dtype=torch.float64)[:, :, None]
    found = fused_sum(rewards, one)
    first = [8 - (2 + 4 * (1 - 2 / 16)), 6 - (2 + 6 * (1 - 2 / 36))]
    # The first one's mean is 7 and its variance 2.
    second = [1 - (7 - 4 * (1 - 2 / 16)), 3 - (7 - 6 * (1 - 2 / 36))]
    np.testing.assert_allclose(found, np.array([first, second]) / 2, atol=1e-12)
    # Far apart, siblings are believed; alike, the other prompts are.
    apart = rewards + torch.tensor([0.0, 1e6], dtype=torch.float64)[:, None, None]
    np.testing.assert_allclose(fused_sum(apart, one), centred_sum(apart, one), atol=1e-5)
    equal = torch.tensor([[5.0, 5.0], [1.0, 3.0]], dtype=torch.float64)[:, :, None]
    assert (fused_sum(equal, one)[0] == (5 - (2 + 3 * (1 - 2 / 9))) / 2).all()
    for wrong in (rewards[:1], rewards[:, :1]):
        with pytest.raises(InputError, match="two or more"):
            fused_sum(wrong, one[: len(wrong)])


def test_fused_baselines_know_the_weights_of_each_prompt():
    rewards, weights = random_rewards(2)
    found = fused_sum(rewards, weights)
    np.testing.assert_allclose(fused_sum(rewards, 3 * weights), 3 * found, atol=1e-12)
    np.testing.assert_allclose(
        fused_sum(2 * rewards + 7, weights / weights.sum(1, True)) / 2,
        fused_sum(rewards, weights / weights.sum(1, True)),
        atol=1e-12,
    )
    for number in range(len(rewards)):
        # What a prompt sees of the others, with its own weights, is one reward.
        totals = (rewards @ weights[number])[:, :, None]
        alone = fused_sum(totals, torch.ones(len(totals), 1, dtype=torch.float64))
        np.testing.assert_allclose(found[number], alone[number], atol=1e-12)


def test_fused_baselines_leave_the_gradient_as_it_is():
    # Two prompts with two samples of three options each: all 81 groups, exactly.
    logits = torch.tensor([[0.3, -0.5, 0.1], [0.0, 1.0, -1.0]], dtype=torch.float64)
    values = torch.tensor([[1.0, 0.0, 3.0], [0.5, 2.0, 0.0]], dtype=torch.float64)
    chances, one = logits.softmax(1), torch.ones(2, 1, dtype=torch.float64)
    gradient = torch.zeros_like(logits)
    for picked in product(range(3), repeat=4):
        picks = torch.tensor(picked).view(2, 2)
        advantages = fused_sum(values.gather(1, picks)[:, :, None], one)
        score = torch.nn.functional.one_hot(picks, 3) - chances[:, None]
        gradient += chances.gather(1, picks).prod() * torch.einsum("ps,pso->po", advantages, score)
    # The mean over two samples of the exact gradient, times the (G - 1) / G of `centred_sum`.
    exact = chances * (values - (chances * values).sum(dim=1, keepdim=True))
    np.testing.assert_allclose(gradient, 2 * exact / 2, atol=1e-12)


def test_mixed_value_at_risk():
    scores = torch.arange(6.0)
    assert mixed_value_at_risk(scores, 2, 3, omega=0.5).tolist() == [-4, -2.5, -1, 0, 0, 0]
    plain = mixed_value_at_risk(scores, 0, 5, omega=0)
    np.testing.assert_allclose(plain - plain.mean(), scores - scores.mean())
    with pytest.raises(InputError, match="at least low"):
        mixed_value_at_risk(scores, 3, 2, omega=0)
    with pytest.raises(InputError, match="negative"):
        mixed_value_at_risk(scores, 2, 3, omega=-1)
