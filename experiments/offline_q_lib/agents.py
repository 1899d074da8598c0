"""Stories with their exact values, and agents that learn values of them from recorded play."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pluralign as pl
from pluralign.collect.chooser import Chooser
from pluralign.collect.collector import collect
from pluralign.core.pareto import hypervolume_ratio, reference_point
from pluralign.core.records import read_trajectories
from pluralign.games.exact_front import ExactFront, exact_front, exact_returns
from pluralign.games.state_graph import StateGraph, explore
from pluralign.learn.options.q import QConfig, fit_q
from pluralign.options.features import FeatureStore
from pluralign.options.values import ValuePolicy
from pluralign.steer.steered import steered

OBJECTIVES = ("score", "harm_avoidance")
WEIGHTINGS = 11

WAYS: dict[str, dict[str, Any]] = {
    "pessimistic": {},
    "free": {"unseen": "free", "heads": 1},
    "expectile 0.9": {"backup": "expectile"},
    "3 steps": {"backup": "expectile", "n": 3},
    "5 steps": {"backup": "expectile", "n": 5},
    "10 steps": {"backup": "expectile", "n": 10},
}
"""Settings of `QConfig` of each way to learn; the defaults are first."""
ANY = "any weights"
"""The way with one model for all weights."""


class Greedy:
    """The most likely option of a policy."""

    name = "greedy"

    def __init__(self, policy: pl.Policy) -> None:
        self._policy = policy

    def log_probs(self, decisions: Any) -> list[Any]:
        """See `Policy.log_probs`."""
        return [
            np.where(np.arange(len(row)) == row.argmax(), 0.0, -np.inf)
            for row in self._policy.log_probs(decisions)
        ]


class Story:
    """A story with its exact values.

    Args:
        name: Name of the story.
    """

    def __init__(self, name: str) -> None:
        self.name, self.game = name, pl.open_story(name)
        self.objectives = self.game.info.select(OBJECTIVES)
        self.graph: StateGraph = explore(self.game.make_game())
        self.front: ExactFront = exact_front(self.graph, self.objectives)

    def played(
        self, chooser: Chooser, episodes: int, seed: int, out: Path | None = None
    ) -> tuple[list[pl.Trajectory], float]:
        """Episodes, and the share of the story's options that they took.

        Args:
            chooser: Chooser of the options.
            episodes: Number of episodes.
            seed: Random seed of play.
            out: File of the episodes; None keeps none.
        """
        with tempfile.TemporaryDirectory() as folder:
            out = out or Path(folder) / "t.jsonl"
            collect(
                self.game.make_game, chooser, out, episodes=episodes, seed=seed, objectives=self.objectives,
                progress=False,
            )  # fmt: skip
            played = read_trajectories(out)
        taken = {(step.decision.key, step.action) for one in played for step in one.steps}
        return played, len(taken) / sum(len(decision.options) for decision in self.graph.decisions)

    def returns(self, policy: pl.Policy) -> list[float]:
        """Exact expected returns of a policy."""
        found = exact_returns(self.graph, policy, self.objectives).objectives
        return [found[name] for name in OBJECTIVES]

    def share(self, policies: Mapping[str, pl.Policy]) -> float:
        """Hypervolume of the steered policy under eleven weightings, as a share of the exact front's."""
        points = [
            self.returns(
                steered(policies, pl.SteeringWeights(dict(zip(OBJECTIVES, (w, 1 - w), strict=True))))
            )
            for w in np.linspace(0, 1, WEIGHTINGS).tolist()
        ]
        return hypervolume_ratio(points, self.front.points, reference_point(self.front.worst))


def learn_agents(
    story: Story, way: str, played: list[pl.Trajectory], seed: int, out: Path, store: FeatureStore, steps: int
) -> dict[str, ValuePolicy]:
    """The agents of one way, each in its folder; what is learned already is read.

    Args:
        story: The story.
        way: Name of the way.
        played: Episodes.
        seed: Random seed of training, which names the folder.
        out: Folder of all agents.
        store: Features.
        steps: Number of optimizer steps of an agent; a model of any weights gets twice as many.
    """
    config = replace(QConfig(steps=steps), **WAYS.get(way, {}))
    place = out / f"{story.name}-{seed}-{len(played)}-{way.replace(' ', '-')}"
    known = {"store": store, "objectives": story.objectives, "seed": seed}
    if way == ANY:
        model = fit_q(played, out=place, config=replace(config, steps=2 * steps), **known)
        return {name: model.with_weights(pl.SteeringWeights.one_hot(name, OBJECTIVES)) for name in OBJECTIVES}
    return {
        name: fit_q(played, out=place / name, objective=name, config=config, **known) for name in OBJECTIVES
    }
