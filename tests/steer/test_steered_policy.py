"""One policy out of several."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import Decision, InputError, Policy, SteeringWeights, UniformPolicy
from pluralign.steer.mixing import ARITHMETIC, mix_log_probs
from pluralign.steer.steered_policy import SteeredPolicy

DECISIONS = [Decision("a fork", ("left", "right")), Decision("a door", ("open", "knock", "leave"))]


class Fixed:
    """Prefers the option of one index, and counts how often it is asked."""

    def __init__(self, favourite: int, name: str = "fixed") -> None:
        self.favourite, self.name, self.calls = favourite, name, 0

    def log_probs(self, decisions: Sequence[Decision]) -> list[np.ndarray]:
        self.calls += 1
        rows = []
        for decision in decisions:
            scores = np.zeros(len(decision.options))
            scores[self.favourite % len(scores)] = 2.0
            rows.append(scores - np.log(np.exp(scores).sum()))
        return rows


class Untouchable:
    name = "untouchable"

    def log_probs(self, decisions: Sequence[Decision]) -> list[np.ndarray]:
        raise AssertionError("a policy of weight zero was called")


class Misshapen:
    name = "misshapen"

    def log_probs(self, decisions: Sequence[Decision]) -> list[np.ndarray]:
        return [np.zeros(1) for _ in decisions]


def policies() -> dict[str, Policy]:
    return {"score": Fixed(0), "harm_avoidance": Fixed(1), "power_avoidance": UniformPolicy()}


def test_mixes_by_name_not_by_order() -> None:
    weights = SteeringWeights(power_avoidance=0.2, score=0.5, harm_avoidance=0.3)
    rows = SteeredPolicy(policies(), weights, power=0.5).log_probs(DECISIONS)
    for i, decision in enumerate(DECISIONS):
        each = np.stack([p.log_probs([decision])[0] for p in policies().values()])
        np.testing.assert_allclose(rows[i], mix_log_probs(each, [0.5, 0.3, 0.2], 0.5), atol=1e-12)


@pytest.mark.parametrize("power", [1.0, 0.0, -1.0, math.inf])
def test_one_hot_weights_are_that_policy_exactly_and_ask_no_other(power: float) -> None:
    asked = Fixed(1)
    steered = SteeredPolicy(
        {"score": Untouchable(), "care": asked}, SteeringWeights(care=1.0, score=0.0), power
    )
    for mixed, own in zip(steered.log_probs(DECISIONS), Fixed(1).log_probs(DECISIONS), strict=True):
        np.testing.assert_array_equal(mixed, own)
    assert asked.calls == 1


def test_objectives_left_out_have_weight_zero() -> None:
    steered = SteeredPolicy({"a": Fixed(0), "b": Fixed(1), "c": Untouchable()}, SteeringWeights(a=0.5, b=0.5))
    np.testing.assert_allclose(np.exp(steered.log_probs(DECISIONS[:1])[0]), [0.5, 0.5], atol=1e-12)


def test_with_weights_changes_the_weights_alone() -> None:
    steered = SteeredPolicy(policies(), SteeringWeights(score=1.0), power=0.0)
    moved = steered.with_weights(SteeringWeights(harm_avoidance=1.0))
    assert (moved.power, moved.policies) == (steered.power, steered.policies)
    assert np.exp(steered.log_probs(DECISIONS)[0]).argmax() == 0
    assert np.exp(moved.log_probs(DECISIONS)[0]).argmax() == 1
    assert moved.name == "steered(score=0,harm_avoidance=1,power_avoidance=0)"
    named = SteeredPolicy(policies(), SteeringWeights(score=1.0), name="mine")
    assert named.with_weights(SteeringWeights(harm_avoidance=1.0)).name == "mine"


@given(st.permutations(["score", "harm_avoidance", "power_avoidance"]), st.sampled_from([1.0, 0.0, -1.0]))
def test_the_order_of_the_objectives_does_not_matter(order: list[str], power: float) -> None:
    weights = SteeringWeights(score=0.6, harm_avoidance=0.3, power_avoidance=0.1)
    straight = SteeredPolicy(policies(), weights, power).log_probs(DECISIONS)
    permuted = SteeredPolicy({o: policies()[o] for o in order}, weights, power).log_probs(DECISIONS)
    for one, other in zip(straight, permuted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_what_else_is_in_the_batch_changes_nothing() -> None:
    steered = SteeredPolicy(policies(), SteeringWeights.uniform(list(policies())), ARITHMETIC)
    together = steered.log_probs([DECISIONS[1], *DECISIONS])
    np.testing.assert_array_equal(together[1], steered.log_probs([DECISIONS[0]])[0])
    np.testing.assert_array_equal(together[0], together[2])
    assert steered.log_probs([]) == []


def test_blend_shows_what_went_in() -> None:
    weights = SteeringWeights(score=0.25, harm_avoidance=0.75)
    steered = SteeredPolicy({**policies(), "power_avoidance": Untouchable()}, weights, ARITHMETIC)
    blend = steered.blend(DECISIONS[0])
    assert list(blend.probabilities) == ["score", "harm_avoidance"]
    expected = 0.25 * blend.probabilities["score"] + 0.75 * blend.probabilities["harm_avoidance"]
    np.testing.assert_allclose(blend.mixed, expected, atol=1e-12)
    np.testing.assert_allclose(np.log(blend.mixed), steered.log_probs([DECISIONS[0]])[0], atol=1e-12)


def test_blend_shows_unweighted_policies_on_request_without_mixing_them() -> None:
    steered = SteeredPolicy(policies(), SteeringWeights(score=1.0))
    blend = steered.blend(DECISIONS[1], with_unweighted=True)
    assert set(blend.probabilities) == set(policies())
    np.testing.assert_array_equal(blend.mixed, blend.probabilities["score"])


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="unknown objective 'honesty'; known: harm_avoidance"):
        SteeredPolicy(policies(), SteeringWeights(honesty=1.0))
    with pytest.raises(InputError, match="unknown objective"):
        SteeredPolicy(policies(), SteeringWeights(score=1.0)).with_weights(SteeringWeights(honesty=1.0))
    with pytest.raises(InputError, match="at least one policy"):
        SteeredPolicy({}, SteeringWeights(score=1.0))
    with pytest.raises(InputError, match="power"):
        SteeredPolicy(policies(), SteeringWeights(score=1.0), power=math.nan)
    crooked = SteeredPolicy({"score": Misshapen()}, SteeringWeights(score=1.0))
    with pytest.raises(InputError, match="'misshapen' of objective 'score'"):
        crooked.log_probs(DECISIONS)
