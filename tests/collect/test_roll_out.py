import math
import time
from itertools import islice

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, HashPolicy, TowerGame
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.roll_out import play, roll_out
from pluralign.core import Decision, InputError, Trajectory, UniformPolicy

ALL = {"seed": 7, "objectives": [SCORE, HONESTY]}


def played(episodes=30, **changed):
    return list(roll_out(TowerGame, HashPolicy(), episodes=episodes, **{**ALL, **changed}))


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 40), order=st.permutations(range(12)))
def test_episodes_depend_on_seed_and_index_alone(batch, order):
    usual = {t.id: t for t in played(12)}
    assert list(usual) == [f"hash-7-{i}" for i in range(12)]
    other = played(order, batch=batch)
    assert [t.id for t in other] == [f"hash-7-{i}" for i in order]
    assert {t.id: t for t in other} == usual


def test_another_seed_gives_other_episodes():
    assert [t.steps for t in played(seed=7)] != [t.steps for t in played(seed=8)]


def test_all_policies_play_the_same_game_seeds():
    ours = played(5)
    others = list(roll_out(TowerGame, UniformPolicy(), episodes=5, **ALL))
    assert [t.seed for t in ours] == [t.seed for t in others]
    assert len({t.seed for t in ours}) == 5


def test_rewards_counts_outcome_and_ends():
    for t in played(50):
        assert t.terminated
        assert not t.truncated
        assert t.source == "tower"
        assert [bool(s.outcome) for s in t.steps] == [False] * (len(t.steps) - 1) + [True]
        for s in t.steps:
            assert s.rewards == {
                "score": s.counts.get("points", 0.0),
                "honesty": -s.counts.get("violations.stealing", 0.0),
            }


def test_recorded_log_probability_is_the_policys():
    policy = HashPolicy()
    for t in played(20):
        assert t.steps[0].info == {"log_prob": 0.0}
        for s in t.steps:
            [row] = policy.log_probs([s.decision])
            expected = row[s.action] if len(s.decision.options) > 1 else 0.0
            assert s.info["log_prob"] == pytest.approx(expected, abs=1e-12)


def test_truncation_after_max_steps():
    for t in played(20, max_steps=3):
        assert len(t.steps) <= 3
        assert t.truncated == (len(t.steps) == 3 and not t.terminated)
    assert any(t.truncated and t.steps[-1].outcome == "" for t in played(20, max_steps=3))


def test_an_episode_that_ends_on_the_last_step_is_terminated():
    lengths = {len(t.steps) for t in played(50)}
    for length in lengths:
        for whole, cut in zip(played(50), played(50, max_steps=length), strict=True):
            if len(whole.steps) == length:
                assert cut.terminated


def test_each_decision_is_asked_once_and_in_batches():
    policy = HashPolicy()
    trajectories = list(roll_out(TowerGame, policy, episodes=200, batch=100, **ALL))
    distinct = {s.decision.key for t in trajectories for s in t.steps if len(s.decision.options) > 1}
    assert sum(policy.asked) == len(distinct)
    assert len(policy.asked) < 30


def test_sampling_follows_the_policy():
    policy, n = HashPolicy(), 4000
    first = [t.steps[1] for t in roll_out(TowerGame, policy, episodes=n, max_steps=2, **ALL)]
    probs = np.exp(policy.log_probs([first[0].decision])[0])
    counts = np.bincount([s.action for s in first], minlength=len(probs))
    # Chi-squared with 3 degrees of freedom: 16.3 is exceeded once in 1,000 seeds.
    assert ((counts - n * probs) ** 2 / (n * probs)).sum() < 16.3


def test_greedy_takes_the_likeliest():
    policy = HashPolicy()
    for t in played(3, greedy=True):
        for s in t.steps:
            [row] = policy.log_probs([s.decision])
            assert s.action == (row.argmax() if len(row) > 1 else 0)
            assert s.info == {"log_prob": 0.0}


def test_impossible_options_are_never_taken():
    class Never:
        name = "never"

        def log_probs(self, decisions):
            return [np.log(np.array([0.5, 0.5] + [1e-300] * (len(d.options) - 2))) for d in decisions]

    d = Decision("p", ("a", "b", "c"))
    chooser = PolicyChooser(Never())
    seeds = [0, 2**62 - 1, 2**62, 2**63 - 1]
    assert [c.action for c in chooser.choose([d] * 4, seeds)] == [0, 0, 1, 1]


@pytest.mark.parametrize("row", [[0.0], [math.nan, 0.0], [0.0, 0.0]])
def test_a_policy_that_gives_no_distribution_is_caught(row):
    class Broken:
        name = "broken"

        def log_probs(self, decisions):
            return [np.array(row) for _ in decisions]

    with pytest.raises(ValueError, match="broken"):
        PolicyChooser(Broken()).choose([Decision("p", ("a", "b"))], [0])


@pytest.mark.parametrize(
    "changed", [{"seed": -1}, {"max_steps": 0}, {"batch": 0}, {"episodes": [-1]}], ids=lambda c: str(c)
)
def test_bad_arguments(changed):
    with pytest.raises(InputError):
        roll_out(TowerGame, UniformPolicy(), **{"episodes": 1, **ALL, **changed})


def test_games_are_made_once_per_place_in_the_batch():
    made = []

    def make():
        made.append(TowerGame())
        return made[-1]

    assert len(list(roll_out(make, UniformPolicy(), episodes=50, batch=8, **ALL))) == 50
    assert len(made) == 8


def test_few_episodes_wait_behind_a_long_one():
    class Slow(TowerGame):
        """Its first episode rests on for ever."""

        def choose(self, action):
            if self.state[3] == "floor" and self.resets[-1] == slow_seed:
                return {}
            return super().choose(action)

    slow_seed = next(played(1).__iter__()).seed
    trajectories = play(Slow, PolicyChooser(UniformPolicy()), episodes=500, max_steps=100, batch=4, **ALL)
    [first, *rest] = list(trajectories)
    assert first.truncated
    assert len(rest) == 499


def test_evaluation_is_fast():
    started = time.process_time()
    steps = sum(len(t.steps) for t in roll_out(TowerGame, HashPolicy(), episodes=1000, **ALL))
    per_step = (time.process_time() - started) / steps
    # 11 weights x 300 episodes x 20 steps in some seconds: 66,000 steps; 20 to 40 microseconds alone.
    assert per_step < 300e-6


def test_it_is_lazy():
    first = list(islice(roll_out(TowerGame, UniformPolicy(), episodes=10**9, **{**ALL}), 2))
    assert all(isinstance(t, Trajectory) for t in first)
