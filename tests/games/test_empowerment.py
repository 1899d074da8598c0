"""Empowerment on a graph of five states, and on the stories."""

import numpy as np
import pytest

import pluralign as pl
from pluralign.core import Decision
from pluralign.evaluate.story_facts import story_facts
from pluralign.games.empowerment import empowerment, idle_states
from pluralign.games.state_graph import END, StateGraph, explore


def test_the_logarithm_of_distinct_next_states():
    # 1 leads to 2, 3 and 4; 2 to 4 twice; 3 to 4 and twice to the end; 4 to the end alone.
    edges = [[], [2, 3, 4], [4, 4], [4, END, END], [END]]
    shown = zip("abcd", edges[1:], strict=True)
    graph = StateGraph(
        states=(None, "a", "b", "c", "d"),
        decisions=tuple(Decision(name, tuple("xyz"[: len(own)])) for name, own in shown),
        decision_of=np.array([-1, 0, 1, 2, 3]),
        first=np.cumsum([0, *map(len, edges)]),
        target=np.array([to for own in edges for to in own]),
        counts=({},),
        counts_of=np.zeros(9, dtype=np.int64),
    )  # fmt: skip
    np.testing.assert_allclose(empowerment(graph), [0, np.log(3), 0, np.log(2), 0])
    # A single option is no choice that leads nowhere else.
    assert idle_states(graph).tolist() == [2]


@pytest.mark.parametrize(
    ("name", "mean", "most", "idle"), [("salt_ledger", 1.05, 1.07, 23), ("high_water", 0.98, 1.11, 144)]
)
def test_the_stories(name, mean, most, idle):
    story = pl.open_story(name)
    graph = explore(story.make_game())
    assert empowerment(graph)[1:].mean() == pytest.approx(mean, abs=0.005)
    assert len(idle_states(graph)) == idle
    found = story_facts(story, ("score",))
    assert found.choice is not None
    assert found.choice.most == pytest.approx(most, abs=0.005)
    assert found.to_json()["idle_states"] == idle
    assert found.to_json()["empowerment"] == pytest.approx(mean, abs=0.005)
