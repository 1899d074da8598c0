"""Rewards and their posteriors side by side: on a toy game of two decisions, and on a story."""

from dataclasses import dataclass

import numpy as np
import pytest

from pluralign.core import Decision, InputError, Step, Trajectory
from pluralign.evaluate.rewards.ranks import (
    compare_rewards,
    exact_rewards,
    observed_rewards,
    reward_rows,
    visited,
)
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.state_graph import explore

DOOR, CAVE = Decision("A door.", ("Open", "Leave", "Knock")), Decision("A cave.", ("Enter", "Shout"))


def _episode(name, *steps):
    made = tuple(Step(decision, action, {"gold": gold, "peace": -gold}) for decision, action, gold in steps)
    return Trajectory(name, "toy", "x", 0, made, terminated=True)


TRAJECTORIES = [
    _episode("a", (DOOR, 0, 1.0), (CAVE, 0, 5.0)),
    _episode("b", (DOOR, 0, 3.0), (CAVE, 1, 0.0)),
    _episode("c", (DOOR, 2, -1.0)),
]


@dataclass
class _Given:
    """A posterior that is given; the log-probabilities are its means' softmax."""

    means: dict
    sigma: float = 1.0

    def rewards(self, decisions):
        return [_Row(np.array(self.means[d]), np.full(len(d.options), self.sigma)) for d in decisions]

    def log_probs(self, decisions):
        return [m - np.log(np.exp(m).sum()) for m in (np.array(self.means[d]) for d in decisions)]


@dataclass
class _Row:
    mean: np.ndarray
    sigma: np.ndarray


POSTERIOR = _Given({DOOR: [0.5, 9.0, 0.0], CAVE: [2.0, 0.2]})


def test_observed_rewards_are_means_of_what_was_taken():
    truth = observed_rewards(TRAJECTORIES)
    np.testing.assert_array_equal(truth["gold"][0], [2.0, np.nan, -1.0])
    np.testing.assert_array_equal(truth["peace"][1], [-5.0, 0.0])
    assert visited(TRAJECTORIES) == [DOOR, CAVE]


def test_rows_hold_the_options_whose_reward_is_known():
    rows = reward_rows(POSTERIOR, TRAJECTORIES, observed_rewards(TRAJECTORIES))
    assert rows.owner.tolist() == [0, 0, 1, 1]
    assert rows.mean.tolist() == [0.5, 0.0, 2.0, 0.2]
    assert rows.visits.tolist() == [2, 1, 1, 1]
    assert rows.truth["gold"].tolist() == [2.0, -1.0, 5.0, 0.0]


def test_a_posterior_that_is_right_agrees_and_its_opposite_disagrees():
    """Gold 2, -1, 5, 0 and means 0.5, 0, 2, 0.2 have the same order; peace is minus gold."""
    ranks = compare_rewards(reward_rows(POSTERIOR, TRAJECTORIES, observed_rewards(TRAJECTORIES)))
    assert (ranks.decisions, ranks.options) == (2, 4)
    for name, sign in (("gold", 1.0), ("peace", -1.0)):
        found = ranks.mean[name]
        assert found.spearman.value == found.kendall.value == found.within.value == sign
        assert ranks.log_policy[name].within.value == sign
    assert ranks.sigma_visits.spearman.value == 0.0, "a constant sigma tells nothing"


def test_sigma_that_falls_with_visits_is_seen():
    class Wider(_Given):
        def rewards(self, decisions):
            return [
                _Row(row.mean, np.array([0.1, 3.0, 1.0])[: len(row.mean)] + 0.5 * (d is CAVE))
                for d, row in zip(decisions, super().rewards(decisions), strict=True)
            ]

    rows = reward_rows(Wider(POSTERIOR.means), TRAJECTORIES, observed_rewards(TRAJECTORIES))
    # Sigma 0.1 where visited twice, more elsewhere: ranks 1, 2, 3.. against visits 2, 1, 1, 1.
    assert compare_rewards(rows).sigma_visits.spearman.value < -0.7


def test_missing_rewards_are_refused():
    bare = [Trajectory("a", "toy", "x", 0, (Step(DOOR, 0),), terminated=True)]
    for trajectories in (bare, []):
        with pytest.raises(InputError, match="no rewards"):
            observed_rewards(trajectories)
    with pytest.raises(InputError, match="trajectory 'a' has no rewards for objective 'gold'"):
        observed_rewards([*TRAJECTORIES, *bare])
    unknown = {"gold": [np.full(3, np.nan), np.full(2, np.nan)]}
    with pytest.raises(InputError, match="no option's true reward"):
        reward_rows(POSTERIOR, TRAJECTORIES, unknown)


@pytest.fixture(scope="module")
def graph():
    return explore(ChoiceScriptGame(load_story("salt_ledger")))


def test_exact_rewards_are_those_that_play_gives(graph):
    """Every step along a path through the story's states; the rare rewards that vary are left out."""
    truth = exact_rewards(graph, [SCORE, HARM_AVOIDANCE], graph.decisions)
    seen, differing, state = 0, 0, graph.start
    for action in (0, 1, 0, 1, 2, 0, 1, 0):
        if state == 0:
            break
        edge = graph.first[state] + min(action, graph.first[state + 1] - graph.first[state] - 1)
        number, option = graph.decision_of[state], edge - graph.first[state]
        counts = graph.counts[graph.counts_of[edge]]
        differing += truth["score"][number][option] != SCORE.reward(counts)
        assert truth["harm_avoidance"][number][option] == pytest.approx(HARM_AVOIDANCE.reward(counts))
        seen, state = seen + 1, int(graph.target[edge])
    assert seen >= 5
    assert differing <= 1


def test_a_decision_of_another_story_is_refused(graph):
    with pytest.raises(InputError, match=r"no such decision: 'A door\.'"):
        exact_rewards(graph, [SCORE], [DOOR])
