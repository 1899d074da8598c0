"""Values that are learned offline from random play of the stories, and steering by them.

    python experiments/offline_q_stories.py

For each story and seed, episodes of random play teach an agent of score and one of harm avoidance (`learn q`)
on frozen features of SmolLM2-135M. Options that the data never took are judged by the network that thinks
least of them (pessimistic) or by one network (free). Then: n-step targets, the expectile, one model for any
weights, and episodes that prefer options taken least often. Measured are exact returns of the greedy choices,
what the agent expects at the start, and the hypervolume of eleven weightings, steered by generalised policy
improvement or by the weights themselves. Every learned agent is a folder in ``--out``, and an interrupted run
continues.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, wrote
from offline_q_lib.tables import write_results

import pluralign as pl
from pluralign.collect.chooser import Chooser, PolicyChooser
from pluralign.collect.collector import collect
from pluralign.collect.coverage import CoverageChooser
from pluralign.core.files import read_json, write_json
from pluralign.core.pareto import hypervolume_ratio, reference_point
from pluralign.core.records import read_trajectories
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import ExactFront, exact_front, exact_returns
from pluralign.games.state_graph import StateGraph, explore
from pluralign.learn.options.q import QConfig, belief, fit_q
from pluralign.options.open import Models
from pluralign.options.values import ValuePolicy
from pluralign.steer.steered import steered

RESULTS = Path(__file__).parent / "results"
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
COVERED = "coverage play"
"""The default way, learned from episodes that prefer options taken least often."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        features: Folder that keeps the features between runs.
        model: Frozen trunk.
        seeds: Number of seeds of play and of training, counted from 1.
        stories: Names of the stories.
        episodes: Numbers of random episodes. All ways are learned from the first number; the default way, and
            the model of any weights, from all.
        ways: Ways to learn.
        steps: Number of optimizer steps of an agent; a model of any weights gets twice as many.
        results: Folder of the result files.
    """

    out: Path = Path("runs/offline_q")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    seeds: int = 3
    stories: tuple[str, ...] = tuple(list_stories())
    episodes: tuple[int, ...] = (100, 30)
    ways: tuple[str, ...] = (*WAYS, ANY, COVERED)
    steps: int = QConfig.steps
    results: Path = RESULTS


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

    def played(self, chooser: Chooser, episodes: int, seed: int) -> tuple[list[pl.Trajectory], float]:
        """Episodes, and the share of the story's options that they took."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "t.jsonl"
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

    def share(self, policies: dict[str, ValuePolicy]) -> float:
        """Hypervolume of the steered policy under eleven weightings, as a share of the exact front's."""
        points = [
            self.returns(
                steered(policies, pl.SteeringWeights(dict(zip(OBJECTIVES, (w, 1 - w), strict=True))))
            )
            for w in np.linspace(0, 1, WEIGHTINGS).tolist()
        ]
        return hypervolume_ratio(points, self.front.points, reference_point(self.front.worst))


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


def measure(story: Story, way: str, episodes: int, seed: int, settings: Settings) -> dict[str, Any]:
    """Learn the agents of one way, and measure them."""
    store = Models(settings.model, settings.features).store
    chooser = CoverageChooser() if way == COVERED else PolicyChooser(pl.UniformPolicy())
    played, covered = story.played(chooser, episodes, seed)
    config = replace(QConfig(steps=settings.steps), **WAYS.get(way, {}))
    if way == ANY:
        config = replace(config, steps=2 * settings.steps)
    place = settings.out / "agents" / f"{story.name}-{seed}-{episodes}-{way.replace(' ', '-')}"
    known = {"store": store, "objectives": story.objectives, "config": config, "seed": seed}
    if way == ANY:
        model = fit_q(played, out=place, **known)
        agents = {
            name: model.with_weights(pl.SteeringWeights.one_hot(name, OBJECTIVES)) for name in OBJECTIVES
        }
    else:
        agents = {name: fit_q(played, out=place / name, objective=name, **known) for name in OBJECTIVES}
    first = [played[0].steps[0].decision]
    found: dict[str, Any] = {}
    for column, name in enumerate(OBJECTIVES):
        found[name] = {
            "greedy": story.returns(Greedy(agents[name]))[column],
            "served": story.returns(agents[name])[column],
            "expects": belief(agents[name], first)[name],
            "best": float(story.front.best[column]),
            "worst": float(story.front.worst[column]),
        }
    return {**found, "covered": covered, "volume": story.share(agents)}


def plans(settings: Settings) -> Iterator[tuple[str, int]]:
    """Ways and numbers of episodes."""
    for number, episodes in enumerate(settings.episodes):
        for way in settings.ways:
            if number == 0 or way in ("pessimistic", ANY):
                yield way, episodes


def run(settings: Settings) -> None:
    """Measure every seed, story and way, and write the tables as results come."""
    rows: list[dict[str, Any]] = []
    stories: dict[str, Story] = {}
    for way, episodes in plans(settings):
        for seed in range(1, settings.seeds + 1):
            for name in settings.stories:
                path = settings.out / f"{way.replace(' ', '-')}-{episodes}-{name}-{seed}.json"
                if not path.exists():
                    say(f"{way}, {episodes} episodes of {name}, seed {seed}")
                    story = stories.setdefault(name, Story(name))
                    write_json(path, measure(story, way, episodes, seed, settings))
                key = {"story": name, "seed": seed, "way": way, "episodes": episodes}
                rows.append({**key, **read_json(path)})
                write_results(rows, settings.results)
    wrote(settings.results / "offline_q_stories.md", f"{len(rows)} rows")


if __name__ == "__main__":
    run(tyro.cli(Settings))
