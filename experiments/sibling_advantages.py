"""How well an option's advantage is estimated from recorded random play: by siblings, or by whole episodes.

    python experiments/sibling_advantages.py

For each story, the exact advantages Q - V of uniform play are known at every decision. Episodes of random
play estimate them: by the return of the episode, standardised over all episodes (as GRPO does), by the mean
return of an option minus that of the options taken at the same decision, and by the same divided by the
deviation over these options (V-STAR). Spearman correlations over all steps of the episodes, for score.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from console import say, write_page, wrote
from scipy.stats import spearmanr

import pluralign as pl
from pluralign.core.files import write_json
from pluralign.evaluate.statistics import estimate
from pluralign.games.choicescript.load import list_stories
from pluralign.games.state_graph import END, StateGraph, explore
from pluralign.learn.options.tables import DecisionIndex, encode_trajectories
from pluralign.losses.siblings import sibling_advantages

RESULTS = Path(__file__).parent / "results"
WAYS = ("episode return", "siblings", "siblings, all alike", "siblings, divided by deviation")


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        seeds: Number of seeds of play, counted from 1.
        stories: Names of the stories.
        episodes: Numbers of random episodes.
        results: Folder of the result files.
    """

    seeds: int = 5
    stories: tuple[str, ...] = tuple(list_stories())
    episodes: tuple[int, ...] = (30, 100, 1000)
    results: Path = RESULTS


def exact_advantages(graph: StateGraph, objective: pl.Objective) -> dict[tuple[str, int], float]:
    """Q - V of uniform play by decision and option: means over the decision's states, as often as they are
    met."""
    rewards = graph.rewards([objective])[:, 0]
    values, mass = np.zeros(len(graph.states)), np.zeros(len(graph.states))
    gains = np.zeros(len(rewards))
    for state in graph.backwards.tolist():
        if state != END:
            edges = slice(graph.first[state], graph.first[state + 1])
            q = rewards[edges] + values[graph.target[edges]]
            values[state], gains[edges] = q.mean(), q - q.mean()
    mass[graph.start] = 1.0
    total: dict[tuple[str, int], float] = {}
    met: dict[str, float] = {}
    for state in graph.backwards[::-1].tolist():
        if state == END:
            continue
        first, last = graph.first[state], graph.first[state + 1]
        np.add.at(mass, graph.target[first:last], mass[state] / (last - first))
        key = graph.decisions[graph.decision_of[state]].key
        met[key] = met.get(key, 0.0) + mass[state]
        for option, gain in enumerate(gains[first:last]):
            total[key, option] = total.get((key, option), 0.0) + mass[state] * gain
    return {(key, option): value / met[key] for (key, option), value in total.items()}


def correlations(
    played: list[pl.Trajectory], objective: pl.Objective, exact: dict[tuple[str, int], float]
) -> dict[str, float]:
    """Spearman correlation of every estimate with the exact advantages, over steps with several options."""
    index = DecisionIndex()
    table = encode_trajectories(played, index)
    rewards = [[objective.reward(step.counts) for step in one.steps] for one in played]
    to_go = torch.tensor([value for row in rewards for value in list(accumulate(row[::-1]))[::-1]])
    whole = torch.tensor([sum(row) for row in rewards for _ in row])
    rows = table.states, table.actions, to_go.double()
    found = {
        WAYS[0]: (whole - whole.mean()) / whole.std(),
        WAYS[1]: sibling_advantages(*rows),
        WAYS[2]: sibling_advantages(*rows, weighted=False),
        WAYS[3]: sibling_advantages(*rows, weighted=False, scale=True),
    }
    steps = [step for one in played for step in one.steps]
    several = np.array([len(step.decision.options) > 1 for step in steps])
    truth = np.array([exact[step.decision.key, step.action] for step in steps])[several]
    return {name: float(spearmanr(values.numpy()[several], truth)[0]) for name, values in found.items()}


def _random_play(story: Any, episodes: int, seed: int) -> list[pl.Trajectory]:
    return list(pl.roll_out(story.make_game, pl.UniformPolicy(), episodes=episodes, seed=seed, objectives=[]))


def run(settings: Settings) -> None:
    """Measure all stories, and write the table."""
    rows: list[dict[str, Any]] = []
    for name in settings.stories:
        story = pl.open_story(name)
        objective = story.info.objective("score")
        exact = exact_advantages(explore(story.make_game()), objective)
        for episodes in settings.episodes:
            found = [
                correlations(_random_play(story, episodes, seed), objective, exact)
                for seed in range(1, settings.seeds + 1)
            ]
            means = {way: estimate([row[way] for row in found]).to_json() for way in WAYS}
            rows.append({"story": name, "episodes": episodes, "seeds": settings.seeds, **means})
            say(f"{name}, {episodes} episodes")
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "sibling_advantages.json", rows)
    lines = [
        "# Advantages of options from recorded play", "",
        "`python experiments/sibling_advantages.py`", "",
        "Spearman correlation with the exact advantage of uniform play (score), mean over "
        f"{settings.seeds} seeds, 95 % intervals.", "",
        "| story | episodes | " + " | ".join(WAYS) + " |",
        "|---|---:|" + "---:|" * len(WAYS),
    ]  # fmt: skip
    for row in rows:
        cells = " | ".join(
            f"{row[w]['mean']:.2f} ({row[w]['low']:.2f} to {row[w]['high']:.2f})" for w in WAYS
        )
        lines.append(f"| {row['story']} | {row['episodes']} | {cells} |")
    write_page(settings.results / "sibling_advantages.md", lines)
    wrote(settings.results / "sibling_advantages.md", f"{len(rows)} rows")


if __name__ == "__main__":
    run(tyro.cli(Settings))
