"""Weights that move in training: golden values, identities, refusals."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from pluralign.core import InputError, SteeringWeights
from pluralign.core.level import Level
from pluralign.learn.combination import Combination, Tail, measured_scales
from pluralign.learn.constraints import Constrained
from pluralign.learn.suggested import Suggested
from pluralign.learn.weighting import (
    ByHypervolume,
    ByInfluence,
    Fixed,
    Observed,
    hypervolume_factor,
    require_objectives,
    weights_by_influence,
)
from pluralign.losses.advantages import (
    advantage_combination,
    centred_sum,
    dvao,
    gdpo,
    influences,
    reward_combination,
)
from pluralign.losses.risk import mixed_value_at_risk
from pluralign.rewards.value_model import RewardScale
from pluralign.steer.targets import meet_targets

HALF = SteeringWeights(a=0.5, b=0.5)
UNIT = (RewardScale(0.0, 1.0), RewardScale(0.0, 1.0))


def drawn(seed, prompts=5, samples=6, objectives=2):
    return torch.tensor(np.random.default_rng(seed).normal(size=(prompts, samples, objectives)))


def test_influence_golden():
    gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    influence = gradients @ gradients.sum(dim=0)
    found = weights_by_influence(torch.tensor([0.5, 0.5], dtype=torch.float64), influence, 0.1)
    np.testing.assert_allclose(found, [0.42556, 0.57444], atol=5e-6)


def test_influence_by_covariance_is_that_of_natural_gradients_of_a_softmax_table():
    rng = np.random.default_rng(0)
    shares = np.array([4, 2, 1, 1])
    policy, table = shares / shares.sum(), rng.normal(size=(4, 3))
    gradients = [policy * (table[:, k] - policy @ table[:, k]) for k in range(3)]
    inverse = np.linalg.pinv(np.diag(policy) - np.outer(policy, policy))
    expected = [g @ inverse @ np.sum(gradients, axis=0) for g in gradients]
    samples = torch.tensor(np.repeat(table, shares, axis=0))[None]
    np.testing.assert_allclose(influences(samples), expected, atol=1e-6)


def test_hypervolume_factor_golden():
    assert hypervolume_factor(0.0) == 0.5
    assert hypervolume_factor(1.0) == pytest.approx(1.6424, abs=5e-5)


def test_weights_by_hypervolume_follow_what_held_out_samples_add():
    weighting = ByHypervolume(HALF)

    def measure(a, b, held_out=True):
        weighting.observe(Observed(torch.tensor([[[a, b]]], dtype=torch.float64), UNIT, held_out=held_out))
        return weighting.factor

    assert measure(0.0, 0.0, held_out=False) == 1.0
    assert measure(0.0, 0.0) == 1.0
    # The reference is (-1, -1), so the start has volume 1 and (1, 0) adds 1.
    assert measure(1.0, 0.0) == pytest.approx(hypervolume_factor(1.0))
    # Far below the start nothing is added, and no volume is negative.
    assert measure(-9.0, 5.0) == 0.5
    assert measure(0.5, 0.0) == 0.5
    np.testing.assert_allclose(weighting.weights(["x"]), [[0.25, 0.25]])
    other = ByHypervolume(HALF)
    other.restore(json.loads(json.dumps(weighting.state())))
    assert other.state() == weighting.state()


def test_the_hypervolume_factor_is_none_under_grpo():
    rewards, weights = drawn(1), torch.full((5, 2), 0.5, dtype=torch.float64)
    np.testing.assert_allclose(
        reward_combination(rewards, weights), reward_combination(rewards, 0.5 * weights), rtol=1e-12
    )
    for combine in (reward_combination, advantage_combination, gdpo, dvao):
        with pytest.raises(InputError, match=f"{combine.__name__} cancels the factor.*'combine'|'combine'"):
            Combination(combine).require(ByHypervolume(HALF))
        with pytest.raises(InputError, match="cancels multipliers"):
            Combination(combine).require(Constrained("ab", at_least={"a": Level(1)}))
        with pytest.raises(InputError, match="cancels a tail"):
            Combination(combine, tail=Tail())
    Combination(centred_sum).require(ByHypervolume(HALF))
    for combine in (advantage_combination, gdpo):
        with pytest.raises(InputError, match="its weight is no price"):
            Combination(combine, kl=0.1)
    with pytest.raises(InputError, match="'kl': must be above 0 with targets"):
        Combination().require(Constrained("ab", at_least={"a": Level(1)}))
    Combination().require(Constrained("ab", at_least={"a": Level(1)}, weights=HALF))
    for targets in ({"at_least": {"a": Level(1)}}, {"exactly": {"a": Level(1)}, "weights": HALF}):
        with pytest.raises(InputError, match="'tail': cannot be combined with targets"):
            Combination(kl=0.1, tail=Tail()).require(Constrained("ab", **targets))
    Combination(kl=0.1, tail=Tail()).require(Fixed(HALF))


def test_influence_moves_weights_in_training_only_and_survives_a_restart():
    weighting = ByInfluence(HALF, rate=0.1)
    rewards = drawn(2) * torch.tensor([1.0, 3.0])
    weighting.observe(Observed(rewards, UNIT, held_out=True))
    np.testing.assert_allclose(weighting.weights(["x"]), [[0.5, 0.5]])
    weighting.observe(Observed(rewards, UNIT))
    found = weighting.weights(["x", "y"])
    assert found.shape == (2, 2)
    assert found[0, 1] > 0.6
    other = ByInfluence(HALF)
    other.restore(json.loads(json.dumps(weighting.state())))
    np.testing.assert_allclose(other.weights(["x"]), found[:1])
    # Units do not matter: rewards are in standard deviations of the first draw.
    scaled = ByInfluence(HALF, rate=0.1)
    scaled.observe(Observed(rewards * 10 + 7, (RewardScale(7, 10), RewardScale(7, 10))))
    np.testing.assert_allclose(scaled.weights(["x"]), found[:1])


def test_suggested_weights_are_asked_for_once():
    asked = []

    def suggest(prompts):
        asked.extend(prompts)
        return [{"a": 1.0} if prompt == "x" else {"a": 0.25, "b": 0.75} for prompt in prompts]

    weighting = Suggested(suggest, ("b", "a"))
    for _ in range(2):
        assert weighting.weights(["x", "y", "x"]).tolist() == [[0.0, 1.0], [0.75, 0.25], [0.0, 1.0]]
    assert asked == ["x", "y"]
    require_objectives(weighting, ["a", "b"])
    with pytest.raises(InputError, match="'objectives': expected different"):
        require_objectives(Fixed(HALF), ["a", "b", "a"])
    with pytest.raises(InputError, match="'c' is in one of them only"):
        require_objectives(Fixed(HALF), ["a", "b", "c"])


def test_other_suggestions_are_another_weighting():
    def suggest(prompts, name="a"):
        return [{name: 1.0}] * len(prompts)

    described = [
        Suggested(one, ("a", "b")).describe()
        for one in (suggest, partial(suggest, name="a"), partial(suggest, name="b"))
    ]
    assert len({one["suggest_source"] for one in described}) == 3


def solve(table, weighting, *, kl=1.0, steps=4000, rate=0.5):
    """Exact gradient ascent on one softmax table with the weighting's multipliers."""
    rewards = torch.tensor(table, dtype=torch.float64)
    logits = torch.zeros(len(rewards), dtype=torch.float64)
    start = logits.log_softmax(0)
    for _ in range(steps):
        policy = logits.softmax(0)
        means = policy @ rewards
        weighting.observe(Observed(means[None, None], UNIT[: rewards.shape[1]]))
        score = rewards @ weighting.weights(["x"])[0] - kl * (logits.log_softmax(0) - start)
        logits = logits + rate * policy * (score - policy @ score)
    return (logits.softmax(0) @ rewards).tolist()


def test_multipliers_are_those_of_meet_targets():
    # Uniform on {0, 1}, target mean 3/4: ln 3.
    weighting = Constrained(["a"], at_least={"a": Level(0.75)}, rate=0.1)
    assert solve([[0.0], [1.0]], weighting) == [pytest.approx(0.75, abs=1e-3)]
    assert weighting.multipliers["a"] == pytest.approx(np.log(3), rel=0.02)
    assert weighting.missed == {}
    rng = np.random.default_rng(3)
    table = rng.uniform(size=(8, 2))
    palette = meet_targets(
        {"a": table[:, 0], "b": table[:, 1]}, {"a": table[:, 0].mean() + 0.1},
        at_most={"b": table[:, 1].mean() - 0.05},
    )  # fmt: skip
    both = Constrained(
        "ab", at_least={"a": Level(table[:, 0].mean() + 0.1)},
        at_most={"b": Level(table[:, 1].mean() - 0.05)}, rate=0.3,
    )  # fmt: skip
    solve(table, both)
    for name, value in palette.multipliers.items():
        assert both.multipliers[name] == pytest.approx(value, rel=0.02)


def test_a_target_that_is_met_anyway_costs_nothing():
    met = Constrained(["a"], at_least={"a": Level(0.4)})
    solve([[0.0], [1.0]], met, steps=50)
    assert met.multipliers == {"a": 0.0}
    assert met.missed == {}
    equal = Constrained(["a"], exactly={"a": Level(0.5)})
    solve([[0.0], [1.0]], equal, steps=50)
    assert equal.multipliers["a"] == pytest.approx(0, abs=1e-12)
    lowered = Constrained(["a"], exactly={"a": Level(0.25)})
    solve([[0.0], [1.0]], lowered, steps=3000)
    assert lowered.multipliers["a"] == pytest.approx(-np.log(3), rel=0.02)


def test_a_target_that_cannot_be_met_is_reported_and_does_not_diverge():
    weighting = Constrained(["a"], at_least={"a": Level(1.5)}, highest=20)
    solve([[0.0], [1.0]], weighting, steps=2000, rate=0.05)
    assert weighting.missed["a"] == pytest.approx(0.5, abs=0.1)
    assert 10 < weighting.multipliers["a"] <= 20
    other = Constrained(["a"], at_least={"a": Level(1.5)}, highest=20)
    other.restore(json.loads(json.dumps(weighting.state())))
    assert other.multipliers == weighting.multipliers
    assert other.missed == weighting.missed


def test_levels_in_deviations_and_wrong_targets():
    weighting = Constrained(["a"], at_least={"a": Level(0.5, relative=True)})
    weighting.observe(Observed(torch.full((1, 2, 1), 12.0), [RewardScale(10.0, 4.0)]))
    assert weighting.missed == {}
    weighting = Constrained(["a"], at_least={"a": Level(1.0, relative=True)})
    weighting.observe(Observed(torch.full((1, 2, 1), 12.0), [RewardScale(10.0, 4.0)]))
    assert weighting.missed == {"a": 0.5}
    for wrong, message in (
        ({}, "give at least one target"),
        ({"at_least": {"c": Level(1)}}, "'c' has no reward"),
        ({"at_least": {"a": Level(1)}, "exactly": {"a": Level(1)}}, "'a' has another target"),
        ({"at_least": {"a": Level(2)}, "at_most": {"a": Level(1)}}, "'a' is to be at least 2"),
        ({"at_least": {"a": Level(1)}, "rate": 0}, "'rate'"),
    ):
        with pytest.raises(InputError, match=message):
            Constrained("ab", **wrong)


def test_the_divergence_is_an_objective_with_a_price():
    rewards, weights = drawn(4), torch.full((5, 2), 0.5, dtype=torch.float64)
    near = drawn(5, objectives=1)[..., 0]
    found = Combination(kl=0.3).advantages(rewards, weights, near)
    total = (rewards * 0.5).sum(dim=2) + 0.3 * near
    np.testing.assert_allclose(found, total - total.mean(dim=1, keepdim=True), atol=1e-12)
    with pytest.raises(InputError, match="log-ratios"):
        Combination(kl=0.3).advantages(rewards, weights)


def test_a_tail_is_a_utility_of_the_weighted_sum():
    rewards, weights = drawn(6), torch.full((5, 2), 0.5, dtype=torch.float64)
    near, score = drawn(7, objectives=1)[..., 0], (rewards * 0.5).sum(dim=2)
    found = Combination(kl=0.3, tail=Tail(0.2, 0.8)).advantages(rewards, weights, near)
    low, high = (float(np.quantile(score.numpy(), share)) for share in (0.2, 0.8))
    total = mixed_value_at_risk(score, low, high, omega=0.5) + 0.3 * near
    np.testing.assert_allclose(found, total - total.mean(dim=1, keepdim=True), atol=1e-12)
    # One window over everything is the mean.
    whole = Combination(tail=Tail(0, 1, 0)).advantages(rewards, weights)
    np.testing.assert_allclose(whole, centred_sum(rewards, weights), atol=1e-12)
    for wrong in ({"low": 0.9}, {"high": 1.1}, {"omega": -1}, {"low": -0.1}):
        with pytest.raises(InputError, match=r"'(low|high|omega)'"):
            Tail(**wrong)


def test_a_tail_of_constant_rewards_has_no_gradient():
    logits = torch.randn(3, dtype=torch.float64, requires_grad=True)
    picks = torch.multinomial(logits.detach().softmax(0), 40, replacement=True).reshape(5, 8)
    rewards, weights = torch.full((5, 8, 2), 0.7, dtype=torch.float64), torch.full((5, 2), 0.5).double()
    for tail in (Tail(0.2, 0.8), Tail(0.2, 1.0, 2.0), Tail(0.5, 0.5)):
        advantages = Combination(tail=tail).advantages(rewards, weights)
        (logits.log_softmax(0)[picks] * advantages).mean().backward()
        assert logits.grad.tolist() == [0.0, 0.0, 0.0]


def test_scales_are_measured_and_constant_rewards_are_refused():
    rewards = drawn(8) * torch.tensor([1.0, 10.0]) + 3
    scales = measured_scales(rewards, "ab")
    standardised = Observed(rewards, scales).standardised.flatten(0, 1)
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(0, correction=0), 1)
    rewards[..., 1] = 2.0
    with pytest.raises(InputError, match=r"rewards\.b.*30 samples"):
        measured_scales(rewards, "ab")
