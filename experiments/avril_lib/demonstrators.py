"""Demonstrators: the language model, DRRN, and agents that are rational for one objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.collect.drrn_training import train_drrn
from pluralign.core import Objective, Step, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.records import read_trajectories, write_records
from pluralign.games.open import open_story
from pluralign.games.state_graph import END, StateGraph, explore
from pluralign.options.drrn import DRRNPolicy
from pluralign.options.language_policy import LanguageModelPolicy
from pluralign.options.open import Models

OBJECTIVES: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance")


@dataclass
class Story:
    """A story's states, and the common settings of its demonstrators.

    Args:
        name: Name of the story.
        folder: Folder of its files.
        models: Language model and its features.
        episodes: Number of episodes per demonstrator.
        rationality: Temperature of the rational agents, as a share of the range of attainable returns.
        seed: Random seed of training and play.
    """

    name: str
    folder: Path
    models: Models
    episodes: int
    rationality: float
    seed: int

    @cached_property
    def make_game(self) -> Callable[[], Any]:
        return open_story(self.name).make_game

    @cached_property
    def graph(self) -> StateGraph:
        return explore(self.make_game())

    @cached_property
    def objectives(self) -> list[Objective]:
        return [self.make_game().info.objective(name) for name in OBJECTIVES]

    def trajectories(self, demonstrator: str) -> list[Trajectory]:
        """Trajectories of a demonstrator, played if they are not on disk yet."""
        path = self.folder / f"{demonstrator.replace(' ', '-')}.jsonl"
        DEMONSTRATORS[demonstrator](self, path)
        return read_trajectories(path)


def language_model(story: Story, path: Path) -> None:
    """Play options in proportion to their likelihood."""
    _collect(story, LanguageModelPolicy(story.models.language_model, story.models.store), path)


def drrn(story: Story, path: Path) -> None:
    """Train DRRN online on the score, and play."""
    folder = story.folder / "drrn"
    if not (folder / "card.json").exists():
        train_drrn(story.make_game, story.models.store, seed=story.seed, progress=True).save(folder)
    _collect(story, DRRNPolicy.load(folder, story.models.store), path)


def _collect(story: Story, policy: Any, path: Path) -> None:
    collect(
        story.make_game,
        PolicyChooser(policy),
        path,
        episodes=story.episodes,
        seed=story.seed,
        objectives=story.objectives,
        progress=False,
    )


def rational(objective: str) -> Callable[[Story, Path], None]:
    """An agent that is Boltzmann-rational for one objective, played on the story's states."""

    def play(story: Story, path: Path) -> None:
        if not path.exists():
            episodes = _rational_episodes(story, OBJECTIVES.index(objective), f"rational {objective}")
            write_records(path, "trajectories", episodes)

    return play


DEMONSTRATORS: dict[str, Callable[[Story, Path], None]] = {
    "language model": language_model,
    "DRRN": drrn,
    "rational for score": rational("score"),
    "rational for harm avoidance": rational("harm_avoidance"),
}


def _rational_episodes(story: Story, objective: int, name: str) -> list[Trajectory]:
    graph = story.graph
    rewards = graph.rewards(story.objectives)
    probabilities = boltzmann(graph, rewards[:, objective], story.rationality)
    episodes: list[Trajectory] = []
    for episode in range(story.episodes):
        rng = np.random.default_rng([story.seed, episode])
        state, steps = graph.start, []
        while state != END:
            first, last = graph.first[state], graph.first[state + 1]
            action = int(rng.choice(last - first, p=probabilities[first:last]))
            given: dict[str, float] = dict(zip(OBJECTIVES, rewards[first + action].tolist(), strict=True))
            steps.append(Step(graph.decisions[graph.decision_of[state]], action, given))
            state = int(graph.target[first + action])
        episodes.append(Trajectory(f"{name}-{episode}", story.name, name, episode, tuple(steps), True))
    return episodes


def boltzmann(graph: StateGraph, rewards: FloatArray, share: float) -> FloatArray:
    """Probability of each edge under softmax(Q / T), where Q is the value of continuing with this policy:
    AVRIL's model.

    Args:
        graph: State graph without cycles.
        rewards: Reward of each edge.
        share: T as a share of the range of attainable returns.
    """
    best, worst = _extreme(graph, rewards, np.max), _extreme(graph, rewards, np.min)
    temperature = share * (best - worst)
    probabilities, values = np.zeros(len(rewards)), np.zeros(len(graph.states))
    for state in graph.backwards.tolist():
        if state != END:
            edges = slice(graph.first[state], graph.first[state + 1])
            q = rewards[edges] + values[graph.target[edges]]
            weights = np.exp((q - q.max()) / temperature)
            probabilities[edges] = weights / weights.sum()
            values[state] = probabilities[edges] @ q
    return probabilities


def _extreme(graph: StateGraph, rewards: FloatArray, pick: Callable[[FloatArray], Any]) -> float:
    values = np.zeros(len(graph.states))
    for state in graph.backwards.tolist():
        if state != END:
            edges = slice(graph.first[state], graph.first[state + 1])
            values[state] = pick(rewards[edges] + values[graph.target[edges]])
    return float(values[graph.start])
