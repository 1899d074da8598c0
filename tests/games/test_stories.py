"""The built-in stories are sound, finite, and offer a trade-off."""

from __future__ import annotations

import pytest

from pluralign.games.choicescript.check.statistics import story_statistics
from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.load import list_stories, load_story
from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.exact_front import exact_front
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.state_graph import StateGraph, explore

STORIES = list_stories()


@pytest.fixture(scope="module", params=STORIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def graph(name: str) -> StateGraph:
    return explore(ChoiceScriptGame(load_story(name)), max_states=200_000)


def test_there_are_four() -> None:
    assert len(STORIES) == 4


def test_the_checker_finds_nothing(name: str) -> None:
    assert [str(problem) for problem in check_story(name)] == []


def test_large_enough_and_finite(name: str, graph: StateGraph) -> None:
    figures = story_statistics(name, graph)
    assert figures.choices >= 60
    assert graph.cycle() == []
    assert 10 <= figures.shortest <= figures.longest <= 60
    assert figures.states < 200_000
    assert figures.decisions >= 60


def test_score_and_harm_avoidance_conflict(graph: StateGraph) -> None:
    front = exact_front(graph, (SCORE, HARM_AVOIDANCE))
    assert len(front.points) >= 6
    assert front.best[0] > front.worst[0]


def test_every_option_is_annotated(name: str) -> None:
    story = load_story(name)
    choices = [i for i in story.program.instructions if isinstance(i, Choose)]
    options = sum(len(choice.options) for choice in choices)
    assert len(choices) >= 60
    assert len(story.program.annotations) >= options // 2
    assert not [problem for problem in check_story(name) if problem.kind == "annotation"]


def test_the_header_says_who_plays(name: str) -> None:
    info = load_story(name).info
    assert info.name == name
    assert info.title != name
    assert min(len(info.author), len(info.summary), len(info.player_character)) > 0
    assert 0 < info.max_points <= 1000
