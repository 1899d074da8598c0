"""Facts about stories: exact where the states can be explored, else by random play."""

import pytest

import pluralign as pl
from pluralign.core import InputError
from pluralign.core.supported import supported_points
from pluralign.evaluate import story_facts as facts
from pluralign.evaluate.story_facts import StorySize, story_facts
from pluralign.games.exact_front import exact_front
from pluralign.games.state_graph import explore


def test_a_small_story_is_exact():
    story = pl.open_story("salt_ledger")
    found = story_facts(story, ("score", "harm_avoidance"))
    chosen = [story.info.objective(name) for name in found.objectives]
    front = exact_front(explore(story.make_game()), chosen)
    json = found.to_json()
    assert json["exact_front"] == front.points.tolist()
    assert json["reached_by_weights"] == supported_points(front.points).tolist()
    assert json["worst"] == front.worst.tolist()
    assert list(json["random"]) == [found.random[name] for name in ("score", "harm_avoidance")]
    spans = zip(front.worst, json["random"], front.best, strict=True)
    assert all(low <= mean <= high for low, mean, high in spans)
    assert found.size.steps is not None
    assert found.size.steps[0] <= found.size.steps[1]
    assert {"choices", "words", "states", "decisions"} <= set(json)


def test_a_story_with_too_many_states_is_played(monkeypatch):
    said = []

    def no_states(game, say):
        say("no exact front: too many states")

    monkeypatch.setattr(facts, "walk", no_states)
    monkeypatch.setattr(facts, "EPISODES", 20)
    found = story_facts(pl.open_story("salt_ledger"), ("score",), say=said.append)
    assert said == ["no exact front: too many states"]
    assert found.size == StorySize()
    assert found.front is None
    assert found.played is not None
    assert found.played["score"].low <= found.random["score"] <= found.played["score"].high
    assert "exact_front" not in found.to_json()


def test_an_unknown_objective():
    with pytest.raises(InputError, match="unknown objective 'fame'"):
        story_facts(pl.open_story("salt_ledger"), ("fame",))
