"""Sample means fused with prior values, and the rules for how many samples are worth their price."""

from itertools import product

import numpy as np
import pytest
import torch

from pluralign.core import InputError
from pluralign.losses.value_prior import (
    bounded_variance,
    empirical_reservation_value,
    expected_excess,
    fuse,
    fused_risk,
    leave_one_out_baselines,
    pooled_variance,
    reservation_value,
    worth_one_more,
)

GRID = np.linspace(-14, 14, 200_001)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def normal(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def test_the_limits_of_fusion():
    prior, mean = column(0.0, 0.3, -2.0), column(1.0, 0.3, 5.0)
    # Many samples give their mean; a difference below one standard error gives the prior.
    torch.testing.assert_close(fuse(prior, mean, column(1e-12, 1e-12, 1e-12)), mean)
    assert fuse(prior, mean, column(1.0, 0.0, 49.0)).tolist() == prior.tolist()
    assert fuse(prior, mean, column(0.5, 1.0, 24.5)).tolist() == [0.5, 0.3, 1.5]
    moved = fuse(7 - 3 * prior, 7 - 3 * mean, 9 * column(0.5, 1.0, 24.5))
    torch.testing.assert_close(moved, 7 - 3 * column(0.5, 0.3, 1.5))


@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
def test_the_error_of_fusion_is_that_of_the_james_stein_estimator(bias):
    fused = fuse(torch.zeros(len(GRID), dtype=torch.float64), torch.tensor(GRID), column(1.0)).numpy()
    error = np.trapezoid((fused - bias) ** 2 * normal(GRID - bias), GRID)
    # Stein's unbiased estimate: x^2 - 1 where the prior is believed, 1 + 3 / x^2 elsewhere.
    inside = np.abs(GRID) <= 1
    stein = np.where(inside, GRID**2 - 1, 1 + 3 / np.where(inside, 1.0, GRID) ** 2)
    assert error == pytest.approx(np.trapezoid(stein * normal(GRID - bias), GRID), abs=1e-3)
    if bias == 0:
        # 2 (Q(1) + 3 (phi(1) - Q(1))) - 2 phi(1), in closed form.
        above = 0.15865525
        assert error == pytest.approx(2 * (above + 3 * (normal(1.0) - above)) - 2 * normal(1.0), abs=1e-4)
    # Below the mean's own error of 1 near the prior, above it from 1.17 standard errors on.
    assert (error < 1) == (bias < 1.17)


def test_the_best_weight_has_the_estimated_risk():
    prior, mean, error = column(0.0), column(2.0), column(1.0)
    # bias^2 = 4 - 1: the risk of the best mixture is 3 * 1 / (3 + 1).
    assert fused_risk(prior, mean, error).item() == pytest.approx(0.75)
    assert fused_risk(prior, mean, error, column(0.5)).item() == pytest.approx(3 * 0.5 / 3.5)
    assert fused_risk(prior, prior, column(0.0)).item() == 0
    for bias in (0.25, 0.5, 1.0, 2.0, 4.0):
        # In the unit of the mean's error at four samples; the last row of the planning table.
        known = bias**2 / (bias**2 + 0.25)
        risk = fused_risk(column(0.0), column((bias**2 + 0.25) ** 0.5), column(0.25)).item()
        assert risk / 0.25 == pytest.approx(known)


def test_samples_are_bought_while_they_pay():
    prior, mean = column(0.0, 0.0), column(0.1, 2.0)
    samples = column(4.0, 4.0)
    # The first is within a standard error: nothing is bought. The second saves 1/4 - 1/5, nearly.
    saved = fused_risk(prior, mean, 1 / samples) - fused_risk(prior, mean, 1 / samples, 1 / (samples + 1))
    assert saved[0] == 0
    for price, worth in ((0.9 * saved[1].item(), True), (1.1 * saved[1].item(), False)):
        assert worth_one_more(prior, mean, column(1.0), samples, price).tolist() == [False, worth]
    many = worth_one_more(prior, mean, column(1.0), column(40.0, 40.0), 0.004)
    assert many.tolist() == [False, False]
    with pytest.raises(InputError, match="price"):
        worth_one_more(prior, mean, column(1.0), samples, 0.0)


def test_variances():
    rewards = column(0, 2, 10, 14).view(2, 2)
    assert pooled_variance(rewards).item() == (2 + 8) / 2
    assert bounded_variance(column(0.2), column(0.5, 0.1)).tolist() == pytest.approx([0.2, 0.09])
    with pytest.raises(InputError, match="two or more samples"):
        pooled_variance(rewards[:, :1])


def test_baselines_without_the_own_sample_leave_the_gradient_exact():
    logits, value = column(0.3, -0.5, 0.1), column(1.0, 0.0, 3.0)
    chances = logits.softmax(0)
    exact = chances * (value - chances @ value)
    groups = torch.tensor(list(product(range(3), repeat=3)))
    weight = chances[groups].prod(dim=1)
    score = torch.eye(3, dtype=torch.float64)[groups] - chances
    rewards, prior = value[groups], torch.full((len(groups),), 0.8, dtype=torch.float64)

    def gradient(baselines):
        return torch.einsum("g,gi,gia->a", weight, rewards - baselines, score) / 3

    others = leave_one_out_baselines(rewards, prior, 0.4)
    torch.testing.assert_close(gradient(others), exact)
    own = fuse(prior, rewards.mean(dim=1), column(0.4 / 3))[:, None].expand_as(rewards)
    assert (gradient(own) - exact).abs().max() > 0.02
    # The anchor: equal rewards have an advantage over the prior.
    same = leave_one_out_baselines(column(2.0, 2.0, 2.0)[None], column(0.0), column(0.5))
    assert (2 - same).tolist() == [pytest.approx([0.125] * 3)]
    with pytest.raises(InputError, match="two or more samples"):
        leave_one_out_baselines(rewards[:, :1], prior, 0.4)


@pytest.mark.parametrize(
    ("price", "value", "samples"), [(0.02, 1.663, 20.7), (0.05, 1.256, 9.5), (0.1, 0.902, 5.4)]
)
def test_the_reservation_value_is_what_stopping_at_it_is_worth(price, value, samples):
    found = reservation_value(column(0.0), column(1.0), price)
    assert found.item() == pytest.approx(value, abs=1e-3)
    assert expected_excess(found).item() == pytest.approx(price, abs=1e-12)
    drawn = np.random.default_rng(0).normal(size=(20_000, 400))
    stop = (drawn >= found.item()).argmax(axis=1)
    net = drawn[np.arange(len(drawn)), stop] - price * (stop + 1)
    assert net.mean() == pytest.approx(value, abs=4 * net.std() / 20_000**0.5)
    assert stop.mean() + 1 == pytest.approx(samples, rel=0.03)
    # Better than every fixed number of samples.
    best = np.maximum.accumulate(drawn, axis=1).mean(axis=0) - price * np.arange(1, 401)
    assert best.max() < value - 0.15


def test_reservation_values_have_the_unit_of_the_rewards():
    mean, deviation = column(5.0, -1.0, 2.0), column(2.0, 0.5, 0.0)
    found = reservation_value(mean, deviation, 0.1)
    each = [reservation_value(column(0.0), column(1.0), 0.1 / sigma).item() for sigma in (2.0, 0.5)]
    assert found.tolist() == pytest.approx([5 + 2 * each[0], -1 + 0.5 * each[1], 1.9])
    # A price above everything that a sample could add.
    assert reservation_value(column(0.0), column(1.0), 50.0).item() == pytest.approx(-50)
    assert reservation_value(column(0.0), column(1.0), 1e-12).item() == pytest.approx(6.757, abs=1e-3)
    with pytest.raises(InputError, match="price"):
        reservation_value(mean, deviation, 0.0)


def test_the_reservation_value_of_equally_likely_rewards_is_exact():
    rewards = column(0.0, 2.0, 5.0, 1.0)
    # Above 2 only the largest is: (5 - z) / 4. From 1 to 2 two are: (7 - 2 z) / 4; from 0 to 1 three:
    # (8 - 3 z) / 4; and below 0 it is their mean minus z.
    for price, level in (
        (0.25, 4.0),
        (0.75, 2.0),
        (1.0, 1.5),
        (1.25, 1.0),
        (1.7, 0.4),
        (2.0, 0.0),
        (7.0, -5.0),
    ):
        assert empirical_reservation_value(rewards, price).item() == pytest.approx(level, abs=1e-14)
    drawn = torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for price in (1e-3, 0.1, 3.0):
        level = empirical_reservation_value(drawn, price)
        excess = (drawn - level[:, None]).clamp_min(0).mean(dim=1)
        torch.testing.assert_close(excess, torch.full_like(excess, price))
        torch.testing.assert_close(empirical_reservation_value(7 + 3 * drawn, 3 * price), 7 + 3 * level)
        torch.testing.assert_close(empirical_reservation_value(drawn.flip(1).repeat(1, 2), price), level)
    many = torch.special.ndtri((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    for price in (0.02, 0.1, 50.0):
        normal_value = reservation_value(column(0.0), column(1.0), price).item()
        assert empirical_reservation_value(many, price).item() == pytest.approx(normal_value, abs=1e-3)
    for wrong, price, message in ((rewards, 0.0, "price"), (rewards[:0], 1.0, "at least one reward")):
        with pytest.raises(InputError, match=message):
            empirical_reservation_value(wrong, price)


def test_stopping_at_the_reservation_value_is_optimal_for_a_skewed_reward():
    # 0 or 1, the latter once in ten samples: at a price of 0.05 stop at the first 1, worth 1 - 0.05 / 0.1.
    rare = column(*[0.0] * 9, 1.0)
    assert empirical_reservation_value(rare, 0.05).item() == pytest.approx(0.5)
    # At a price of 0.15 one more sample after a 0 is a loss of 0.05: the level is below both rewards. So it
    # is at 0.12 (a loss of 0.02), where the normal rule with the same mean and deviation draws on.
    assert empirical_reservation_value(rare, 0.15).item() == pytest.approx(-0.05)
    assert empirical_reservation_value(rare, 0.12).item() == pytest.approx(-0.02)
    assert reservation_value(column(0.1), column(0.3), 0.12).item() > 0
