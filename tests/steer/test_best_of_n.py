import numpy as np
import pytest

from pluralign.core import Decision, InputError, OptionRewards, SteeringWeights
from pluralign.rewards.ensemble import Scale
from pluralign.steer.best_of_n import WeightedReward, weigh


class Fixed:
    def __init__(self, means, sigmas, template=""):
        self.name, self.counts, self.asked = "fixed", {}, 0
        self._means, self._sigmas, self._template = means, sigmas, template

    def render(self, messages, opens):
        return self._template + messages[0]["content"]

    def score_decisions(self, decisions):
        self.asked += 1
        return [OptionRewards(np.array(self._means), np.array(self._sigmas)) for _ in decisions]


ASKED = Decision("p", ("x", "y", "z"))


def rewards():
    return {"kind": Fixed([0.0, 1.0, 2.0], [0.0, 0.0, 3.0]), "short": Fixed([30.0, 20.0, 10.0], [0.0] * 3)}


def test_weights_choose():
    mixes = [SteeringWeights(kind=k, short=1 - k) for k in (1.0, 0.5, 0.0)]
    scales = {"kind": Scale(0, 1), "short": Scale(0, 10)}
    assert [WeightedReward(rewards(), mix, scales).best([ASKED])[0] for mix in mixes] == [2, 0, 0]
    found = WeightedReward(rewards(), mixes[1], scales).score_decisions([ASKED])[0]
    np.testing.assert_allclose(found.mean, [1.5, 1.5, 1.5])
    np.testing.assert_allclose(found.sigma, [0, 0, 1.5])


def test_a_lower_bound_distrusts_guesses():
    sure = WeightedReward(rewards(), SteeringWeights(kind=1.0), lower_bound=1.0)
    np.testing.assert_allclose(sure.score_decisions([ASKED])[0].mean, [0.0, 1.0, -1.0])
    assert sure.best([ASKED]) == [1]


def test_rewards_that_are_there_already_are_weighed_alike():
    own = {name: scorer.score_decisions([ASKED, ASKED]) for name, scorer in rewards().items()}
    mix, scales = SteeringWeights(kind=0.25, short=0.75), {"kind": Scale(0, 2), "short": Scale(5, 10)}
    found = weigh(own, mix, scales, lower_bound=2.0)
    assert len(found) == 2
    # kind: 0.25 / 2 of (0, 1, 2 - 2 x 3); short: 0.75 / 10 of (30, 20, 10).
    np.testing.assert_allclose(found[1].mean, [2.25, 1.625, 0.25])
    np.testing.assert_allclose(found[1].sigma, [0, 0, 0.375])
    scorer = WeightedReward(rewards(), mix, scales, lower_bound=2.0)
    np.testing.assert_array_equal(scorer.score_decisions([ASKED])[0].mean, found[0].mean)


def test_zero_weights_cost_nothing():
    both = rewards()
    WeightedReward(both, SteeringWeights(kind=1.0, short=0.0)).score_decisions([ASKED])
    assert (both["kind"].asked, both["short"].asked) == (1, 0)


def test_bad_settings_are_told():
    with pytest.raises(InputError, match="unknown objective 'loud'"):
        WeightedReward(rewards(), SteeringWeights(loud=1.0))
    with pytest.raises(InputError, match="lower_bound"):
        WeightedReward(rewards(), SteeringWeights(kind=1.0), lower_bound=-1)
    with pytest.raises(InputError, match="lower_bound"):
        WeightedReward(rewards(), SteeringWeights(kind=1.0), lower_bound=float("inf"))
    mixed = {"a": Fixed([0.0], [0.0], "A"), "b": Fixed([0.0], [0.0], "B")}
    with pytest.raises(InputError, match="different templates"):
        WeightedReward(mixed, SteeringWeights(a=0.5, b=0.5)).render([{"role": "user", "content": "x"}], True)
