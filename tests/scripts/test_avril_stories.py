"""The rational demonstrators of the AVRIL experiment, on states made by hand and on a story."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import Decision
from pluralign.games.exact_front import exact_front
from pluralign.games.state_graph import StateGraph
from pluralign.options.open import Models

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

from avril_lib.demonstrators import DEMONSTRATORS, Story, boltzmann


def test_golden_boltzmann_policy():
    """State 1: end with 1, or go on to state 2, where 0 or 2 can be had. Returns range over 0..2, so T = 1.

    At state 2, p = e^2 / (1 + e^2) and the value is 2p; at state 1 the log-odds of going on are 2p - 1.
    """
    graph = StateGraph(
        states=(None, "one", "two"),
        decisions=(Decision("1", ("end", "on")), Decision("2", ("bad", "good"))),
        decision_of=np.array([-1, 0, 1]),
        first=np.array([0, 0, 2, 4]),
        target=np.array([0, 2, 0, 0]),
        counts=({},),
        counts_of=np.zeros(4, dtype=np.int64),
    )
    found = boltzmann(graph, np.array([1.0, 0.0, 0.0, 2.0]), 0.5)
    p = math.exp(2) / (1 + math.exp(2))
    on = 1 / (1 + math.exp(1 - 2 * p))
    np.testing.assert_allclose(found, [1 - on, on, 1 - p, p], atol=1e-12)


@pytest.mark.parametrize("objective", ["score", "harm_avoidance"])
def test_rational_agents_come_near_the_best_of_their_objective(tmp_path, objective):
    story = Story("salt_ledger", tmp_path, Models(), episodes=40, rationality=0.02, seed=0)
    played = story.trajectories(f"rational for {objective.replace('_', ' ')}")
    front = exact_front(story.graph, story.objectives)
    best, worst = (
        float(ends[[o.name for o in story.objectives].index(objective)]) for ends in (front.best, front.worst)
    )
    mean = np.mean([t.returns()[objective] for t in played])
    assert len(played) == 40
    assert all(t.terminated for t in played)
    assert (mean - worst) / (best - worst) > 0.75
    assert story.trajectories(f"rational for {objective.replace('_', ' ')}") == played


def test_demonstrators_have_a_name_each():
    assert list(DEMONSTRATORS)[:2] == ["language model", "DRRN"]
