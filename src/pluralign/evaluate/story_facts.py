"""A story in figures: its size, the ranges of its objectives, and its exact Pareto front if that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pluralign.core import Objective, UniformPolicy
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.supported import better_lot, supported_points
from pluralign.evaluate.play import evaluate_policy
from pluralign.evaluate.report.summary import walk
from pluralign.evaluate.statistics import Estimate
from pluralign.games.choicescript.check.statistics import story_statistics
from pluralign.games.choicescript.run.game import ChoiceScriptStory
from pluralign.games.empowerment import empowerment, idle_states
from pluralign.games.exact_front import ExactFront, exact_front, exact_returns
from pluralign.games.game import Story
from pluralign.games.ink.game import InkStory
from pluralign.games.labelled.story import LabelledStory
from pluralign.games.machiavelli.game import MachiavelliStory
from pluralign.games.state_graph import StateGraph
from pluralign.games.zmachine.game import ZMachineStory

EPISODES = 300
"""Number of random episodes that replace exact figures for stories with too many states."""

SLOW_EPISODES, SLOW_STEPS = 10, 50
"""The same for Z-machine stories, of which a step takes 50 ms and more, and the length of these episodes."""


@dataclass(frozen=True)
class StorySize:
    """Size of a story; None for what is not known.

    Args:
        choices: Number of choices in the story's text.
        words: Number of words in the story's text.
        states: Number of reachable states.
        decisions: Number of distinct decisions.
        steps: Number of steps of the shortest and of the longest episode.
    """

    choices: int | None = None
    words: int | None = None
    states: int | None = None
    decisions: int | None = None
    steps: tuple[int, int] | None = None

    def to_json(self) -> dict[str, int]:
        """What is known, without the steps."""
        known = {
            "choices": self.choices, "words": self.words, "states": self.states, "decisions": self.decisions
        }  # fmt: skip
        return {name: number for name, number in known.items() if number is not None}


@dataclass(frozen=True)
class ChoiceFacts:
    """How much the options of a story decide about what comes next.

    Args:
        empowerment: Mean over states of the logarithm of the number of distinct next states, nats
            (`games.empowerment`).
        most: Mean over states of the logarithm of the number of options, which empowerment cannot exceed.
        idle: Number of states with two or more options that all lead to one state.
    """

    empowerment: float
    most: float
    idle: int


@dataclass(frozen=True, eq=False)
class BeatenPoint:
    """A point of a front that no linear weights reach.

    Args:
        point: Returns by objective, shape (objectives,).
        lot: Probabilities and returns of the points of a lot (a random choice once per episode) that beats it
            in every objective.
        margin: Gain in every objective at least, in shares of the objective's range over the front.
    """

    point: FloatArray
    lot: Sequence[tuple[float, FloatArray]]
    margin: float


def beaten_points(points: FloatArray) -> list[BeatenPoint]:
    """Points of a front that no linear weights reach, each with the lot that beats it most.

    Args:
        points: The front, shape (points, objectives).
    """
    found: list[BeatenPoint] = []
    for row in np.flatnonzero(~supported_points(points)).tolist():
        lot = better_lot(points, row)
        parts = [(share, points[place]) for place, share in lot.shares.items()]
        found.append(BeatenPoint(points[row], parts, lot.margin))
    return found


@dataclass(frozen=True, eq=False)
class StoryFacts:
    """Facts about a story.

    Args:
        name: Name of the story.
        size: Its size.
        objectives: Names of the objectives of the figures.
        random: Mean return of random play by objective; exact if the front is known.
        front: Exact Pareto front of the objectives, with their ranges; None if it is not known.
        played: Returns of random play with 95 % intervals, if the front is not known.
        episodes: Number of episodes of random play.
        choice: What options decide about; None if the states are not known.
    """

    name: str
    size: StorySize
    objectives: tuple[str, ...]
    random: Mapping[str, float]
    front: ExactFront | None = None
    played: Mapping[str, Estimate] | None = None
    episodes: int = EPISODES
    choice: ChoiceFacts | None = None

    def beaten(self) -> list[BeatenPoint]:
        """Points of the front that no linear weights reach, each with the lot that beats it most; none if
        the front is not known.

        >>> import pluralign as pl
        >>> facts = story_facts(pl.open_story("salt_ledger"), ["score", "harm_avoidance"])
        >>> len(facts.beaten()) < len(facts.front.points)
        True
        """
        return [] if self.front is None else beaten_points(self.front.points)

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        found: dict[str, Any] = {
            "story": self.name, **self.size.to_json(), "objectives": list(self.objectives),
            "random": [self.random[name] for name in self.objectives],
        }  # fmt: skip
        if self.choice is not None:
            found |= {"empowerment": self.choice.empowerment, "idle_states": self.choice.idle}
        if self.front is not None:
            found["reached_by_weights"] = supported_points(self.front.points).tolist()
            found["worst"], found["best"] = self.front.worst.tolist(), self.front.best.tolist()
            found["exact_front"] = self.front.points.tolist()
        return found


@checked
def story_facts(story: Story, objectives: Sequence[str], *, say: Callable[[str], None] = print) -> StoryFacts:
    """Explore a story's states, or play it at random if there are too many.

    Args:
        story: Story (`open_story`).
        objectives: Names of the objectives of ranges and front.
        say: Function that reports why there is no exact front.

    Raises:
        InputError: The story has no such objective.
    """
    chosen = [story.info.objective(name) for name in objectives]
    graph = walk(story.make_game(), say)
    size = _size(story, graph)
    if graph is None:
        return _by_play(story, size, chosen)
    random = exact_returns(graph, UniformPolicy(), chosen).objectives
    return StoryFacts(
        story.info.name, size, tuple(objectives), random, exact_front(graph, chosen), choice=_choice(graph)
    )


def _choice(graph: StateGraph) -> ChoiceFacts | None:
    if len(graph.states) == 1:
        return None
    options = np.diff(graph.first)[1:]
    return ChoiceFacts(
        float(empowerment(graph)[1:].mean()), float(np.log(options).mean()), len(idle_states(graph))
    )


def _by_play(story: Story, size: StorySize, chosen: Sequence[Objective]) -> StoryFacts:
    slow = isinstance(_unwrapped(story), ZMachineStory)
    episodes = SLOW_EPISODES if slow else EPISODES
    found = evaluate_policy(
        story.make_game, UniformPolicy(), episodes=episodes, seed=0, objectives=chosen,
        max_steps=SLOW_STEPS if slow else 200,
    )  # fmt: skip
    means = {name: value.mean for name, value in found.returns.items()}
    names = tuple(objective.name for objective in chosen)
    return StoryFacts(story.info.name, size, names, means, played=found.returns, episodes=episodes)


def _unwrapped(story: Story) -> Story:
    while isinstance(story, MachiavelliStory | LabelledStory):
        story = story.story
    return story


def _size(story: Story, graph: StateGraph | None) -> StorySize:
    story = _unwrapped(story)
    states, decisions = (None, None) if graph is None else (len(graph.states) - 1, len(graph.decisions))
    if isinstance(story, InkStory):
        return StorySize(story.choices, story.words, states, decisions)
    if graph is None or not isinstance(story, ChoiceScriptStory):
        return StorySize(None, None, states, decisions)
    facts = story_statistics(story, graph)
    return StorySize(facts.choices, facts.words, states, decisions, (facts.shortest, facts.longest))
