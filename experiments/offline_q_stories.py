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

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from console import say, wrote
from offline_q_lib.agents import ANY, OBJECTIVES, WAYS, Greedy, Story, learn_agents
from offline_q_lib.tables import write_results

import pluralign as pl
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.coverage import CoverageChooser
from pluralign.core.files import read_json, write_json
from pluralign.games.choicescript.load import list_stories
from pluralign.learn.options.q import QConfig, belief
from pluralign.options.open import Models

RESULTS = Path(__file__).parent / "results"
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


def measure(story: Story, way: str, episodes: int, seed: int, settings: Settings) -> dict[str, Any]:
    """Learn the agents of one way, and measure them."""
    store = Models(settings.model, settings.features).store
    chooser = CoverageChooser() if way == COVERED else PolicyChooser(pl.UniformPolicy())
    played, covered = story.played(chooser, episodes, seed)
    agents = learn_agents(story, way, played, seed, settings.out / "agents", store, settings.steps)
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
