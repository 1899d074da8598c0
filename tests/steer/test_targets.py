import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.steer.targets import meet_targets


def gaussian(samples=200_000, seed=0):
    rng = np.random.default_rng(seed)
    covariance = np.array([[1.0, -0.4], [-0.4, 0.5]])
    return rng.multivariate_normal([0.2, -0.1], covariance, samples), np.array([0.2, -0.1]), covariance


def test_a_gaussian_is_tilted_by_the_inverse_covariance():
    # Under exp(lambda . r) a Gaussian's mean moves by Sigma lambda.
    table, mean, covariance = gaussian()
    found = meet_targets({"a": table[:, 0], "b": table[:, 1]}, {"a": 0.4, "b": 0.1})
    expected = np.linalg.solve(covariance, np.array([0.4, 0.1]) - mean)
    assert found.reachable
    np.testing.assert_allclose(list(found.multipliers.values()), expected, rtol=0.03)
    np.testing.assert_allclose(list(found.expected.values()), [0.4, 0.1], atol=1e-3)
    assert found.weights["a"] == pytest.approx(found.multipliers["a"] / found.strength)


def test_a_target_that_is_met_already_has_no_weight():
    table, _, _ = gaussian(20_000)
    found = meet_targets({"a": table[:, 0], "b": table[:, 1]}, {"a": 0.6, "b": -2.0})
    assert found.multipliers["b"] == 0
    assert dict(found.weights) == {"a": 1.0, "b": 0.0}
    assert found.expected["a"] == pytest.approx(0.6, abs=1e-4)
    idle = meet_targets({"a": table[:, 0]}, {"a": -3.0})
    assert idle.reachable
    assert idle.weights is None
    assert idle.strength == 0


def test_what_cannot_be_reached_is_told_with_what_comes_nearest():
    rewards = {"a": [0.0, 1.0], "b": [1.0, 0.0]}
    found = meet_targets(rewards, {"a": 0.8, "b": 0.8})
    assert not found.reachable
    assert found.weights is None
    # Both means can be 0.5 at once: 0.3 short, in deviations of 0.5.
    assert found.shortfall == pytest.approx(0.6)
    assert found.expected == pytest.approx({"a": 0.5, "b": 0.5})
    assert meet_targets(rewards, {"a": 0.8, "b": 0.1}).reachable


def test_what_is_free_is_told_too():
    table, mean, covariance = gaussian()
    found = meet_targets({"free": table[:, 1], "a": table[:, 0]}, {"a": 0.7})
    assert found.multipliers["free"] == 0
    assert dict(found.weights) == {"free": 0.0, "a": 1.0}
    # The mean moves by Sigma lambda, and lambda = (0.5 / Sigma_aa, 0).
    assert found.expected["free"] == pytest.approx(mean[1] + covariance[1, 0] * 0.5, abs=0.02)
    missed = meet_targets({"free": [2.0, 4.0], "a": [0.0, 1.0]}, {"a": 1.5})
    assert missed.expected == pytest.approx({"free": 4.0, "a": 1.0})
    assert missed.effective_samples == pytest.approx(1.0)


def test_nothing_moves_between_prompts():
    # Samples are shuffled: those of a prompt need not stand together.
    rng = np.random.default_rng(1)
    prompts = rng.permutation(np.repeat([7, 3], [60_000, 20_000]))
    rewards = rng.normal(size=80_000) * 0.5 + np.where(prompts == 7, 4.0, 0.0)
    assert rewards.std() > 1.5
    found = meet_targets({"a": rewards}, {"a": rewards.mean() + 0.25}, prompts)
    # Within a prompt the variance is 0.25, so that lambda = 0.25 / 0.25, however far apart the prompts are.
    assert found.strength == pytest.approx(1.0, rel=0.02)
    assert meet_targets({"a": rewards}, {"a": rewards.mean() + 0.25}).strength < 0.15
    # The tilted distribution of each Gaussian has 1 / E[w^2] = exp(-lambda^2 sigma^2) of its samples.
    assert found.effective_samples == pytest.approx(80_000 * np.exp(-0.25), rel=0.03)
    apart = meet_targets({"a": [0.0, 1.0, 10.0, 11.0, 11.0]}, {"a": 9.0}, [0, 0, 1, 1, 1])
    # At most 1 from two samples of five and 11 from three, in deviations of all.
    assert not apart.reachable
    assert apart.expected["a"] == pytest.approx(0.4 * 1 + 0.6 * 11)
    assert apart.shortfall == pytest.approx((9.0 - 7.0) / np.std([0.0, 1.0, 10.0, 11.0, 11.0]))
    assert meet_targets({"a": [0.0, 1.0, 10.0, 11.0, 11.0]}, {"a": 9.0}).reachable


@given(st.integers(0, 10_000), st.floats(0.0, 0.95))
@settings(max_examples=40)
def test_reachable_targets_are_met(seed, share):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(60, 3)) * [1.0, 10.0, 0.1]
    # A point between the mean and some distribution over the samples.
    inside = rng.dirichlet(np.full(60, 0.1)) @ table
    goal = share * inside + (1 - share) * table.mean(axis=0)
    names = ("x", "y", "z")
    found = meet_targets(dict(zip(names, table.T, strict=True)), dict(zip(names, goal.tolist(), strict=True)))
    assert found.reachable
    gaps = (np.array(list(found.expected.values())) - goal) / table.std(axis=0)
    assert gaps.min() > -1e-3
    # Complementary slackness: what is exceeded has no weight.
    assert max(np.array(list(found.multipliers.values())) * table.std(axis=0) * gaps) < 0.05


def test_bad_targets_are_told():
    with pytest.raises(InputError, match="targets"):
        meet_targets({"a": [1.0]}, {"b": 1.0})
    with pytest.raises(InputError, match="targets"):
        meet_targets({"a": [1.0]}, {})
    with pytest.raises(InputError, match="equally many samples"):
        meet_targets({"a": [1.0, 2.0], "b": [1.0]}, {"a": 1.0, "b": 1.0})
    with pytest.raises(InputError, match="equally many samples"):
        meet_targets({"a": []}, {"a": 1.0})
    with pytest.raises(InputError, match="finite"):
        meet_targets({"a": [1.0, float("nan")]}, {"a": 1.0})
    with pytest.raises(InputError, match=r"'rewards\.a': expected numbers, found \['x'"):
        meet_targets({"a": ["x", 2.0]}, {"a": 1.0})
    with pytest.raises(InputError, match="'targets': rewards and targets must be finite"):
        meet_targets({"a": [1.0, 2.0]}, {"a": "1"})
    for prompts in (["p", "q"], [0.2, 0.7]):
        with pytest.raises(InputError, match="'prompts': expected whole numbers"):
            meet_targets({"a": [1.0, 2.0]}, {"a": 1.0}, prompts)
    with pytest.raises(InputError, match="a prompt for each of 2 samples, found 3"):
        meet_targets({"a": [1.0, 2.0]}, {"a": 1.0}, [0, 0, 1])


def test_an_upper_bound_lowers_a_reward():
    # From a uniform choice of 0 or 1, a mean of 1/4 takes the odds 1 : 3.
    coin = {"a": [0.0, 1.0], "b": [1.0, 0.0]}
    found = meet_targets(coin, at_most={"a": 0.25})
    assert found.multipliers == pytest.approx({"a": -np.log(3), "b": 0.0})
    assert found.expected == pytest.approx({"a": 0.25, "b": 0.75})
    assert found.weights is None
    assert found.lowered == ("a",)
    idle = meet_targets(coin, at_most={"a": 0.75})
    assert idle.multipliers == {"a": 0.0, "b": 0.0}
    assert idle.weights is None
    assert idle.lowered == ()


def test_an_equation_has_a_multiplier_of_any_sign():
    coin = {"a": [0.0, 1.0]}
    assert meet_targets(coin, exactly={"a": 0.75}).multipliers["a"] == pytest.approx(np.log(3), abs=1e-9)
    assert meet_targets(coin, exactly={"a": 0.25}).multipliers["a"] == pytest.approx(-np.log(3), abs=1e-9)
    # At the sampled mean nothing is needed.
    assert meet_targets(coin, exactly={"a": 0.5}).multipliers["a"] == 0.0
    missed = meet_targets(coin, exactly={"a": -0.5})
    assert not missed.reachable
    assert missed.shortfall == pytest.approx(1.0)


def test_a_ceiling_stops_where_a_floor_alone_would_go_on():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(4000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    rewards = {"proxy": table[:, 0], "other": table[:, 1]}
    floor = meet_targets(rewards, {"other": 1.0})
    assert floor.expected["proxy"] > 0.7
    both = meet_targets(rewards, {"other": 1.0}, at_most={"proxy": 0.4})
    assert both.expected["proxy"] == pytest.approx(0.4, abs=1e-3)
    assert both.expected["other"] == pytest.approx(1.0, abs=1e-3)
    assert both.lowered == ("proxy",)
    between = meet_targets(rewards, {"proxy": 0.2}, at_most={"proxy": 0.4})
    assert between.expected["proxy"] == pytest.approx(0.2, abs=1e-3)


def test_targets_that_contradict_each_other_are_refused():
    coin = {"a": [0.0, 1.0]}
    with pytest.raises(InputError, match="is to be at least"):
        meet_targets(coin, {"a": 0.5}, at_most={"a": 0.4})
    with pytest.raises(InputError, match="another target"):
        meet_targets(coin, {"a": 0.5}, exactly={"a": 0.5})
    with pytest.raises(InputError, match="finite"):
        meet_targets(coin, at_most={"a": float("inf")})
    with pytest.raises(InputError, match="expected targets on a, found b"):
        meet_targets(coin, exactly={"b": 1.0})


def test_equal_rewards_meet_targets_below_them():
    # The standard deviation of three times 0.1 is 1.4e-17 in floating point.
    rewards = {"equal": [0.1, 0.1, 0.1], "other": [1.0, 2.0, 3.0]}
    found = meet_targets(rewards, {"equal": 0.05, "other": 2.5})
    assert found.reachable
    assert found.expected["other"] == pytest.approx(2.5)
    assert found.multipliers["equal"] == 0.0
    assert meet_targets(rewards, {"equal": 0.2}).shortfall == pytest.approx(0.1)
