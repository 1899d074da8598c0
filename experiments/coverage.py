"""How much of the stories episodes see that prefer options taken least often, or plan for them.

    python experiments/coverage.py

Shares of the options of decisions, and of the options of states, that are taken by random play, by `collect
--policy coverage` and with `--plan`; and how many random episodes take as many options as 100 of the others.
Then at how many decisions an objective's returns can depend on the option, and at how many they were seen to
differ. Nothing is trained. An interrupted run continues.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import cell, write_table
from console import say, write_page, wrote

import pluralign as pl
from pluralign.collect.chooser import Chooser
from pluralign.collect.collector import collect
from pluralign.collect.coverage import CoverageChooser
from pluralign.collect.planned import PlannedCoverage
from pluralign.core.files import read_json, write_json
from pluralign.core.records import read_trajectories
from pluralign.evaluate.statistics import estimate
from pluralign.games.choicescript.load import list_stories
from pluralign.games.game import Game
from pluralign.games.state_graph import explore

OBJECTIVES = ("score", "harm_avoidance", "power_avoidance")
UNITS = ("decisions", "states")
"""Whether options of decisions or options of states are counted."""
RANDOM = "random"
GUIDED: dict[str, Callable[[Callable[[], Game]], Chooser]] = {
    "coverage, rounds of 10": lambda make: CoverageChooser(),
    "planned for decisions": lambda make: PlannedCoverage(make, unit="decisions"),
    "planned for states": lambda make: PlannedCoverage(make, unit="states"),
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        stories: Names of the stories.
        seeds: Number of seeds of play, counted from 1.
        episodes: Numbers of episodes after which shares are measured; the first one is what random play is
            compared with.
        most: Largest number of random episodes.
        results: Folder of the result files.
    """

    out: Path = Path("runs/coverage")
    stories: tuple[str, ...] = tuple(list_stories())
    seeds: int = 3
    episodes: tuple[int, ...] = (100, 300)
    most: int = 20_000
    results: Path = Path(__file__).parent / "results"


class Explored:
    """A story with all its states.

    Args:
        name: Name of the story.
    """

    def __init__(self, name: str) -> None:
        self.story = pl.open_story(name)
        self.graph = explore(self.story.make_game())
        graph = self.graph
        starts = np.cumsum([0, *(len(one.options) for one in graph.decisions)])
        states = np.repeat(np.arange(len(graph.states)), np.diff(graph.first))
        action = np.arange(len(graph.target)) - graph.first[states]
        pair = starts[graph.decision_of[states]] + action
        chosen = np.diff(graph.first)[states] > 1
        self._counted = {
            "states": np.where(chosen, np.arange(len(states)), -1), "decisions": np.where(chosen, pair, -1)
        }  # fmt: skip

    def new(self, episodes: Sequence[Sequence[int]]) -> dict[str, list[float]]:
        """Share of the options, where there are two or more, that are taken after each episode.

        Args:
            episodes: Edges of each episode.
        """
        found: dict[str, list[float]] = {}
        for unit, number in self._counted.items():
            total, seen, shares = len(set(number.tolist()) - {-1}), {-1}, list[float]()
            for edges in episodes:
                seen.update(number[list(edges)].tolist())
                shares.append((len(seen) - 1) / total)
            found[unit] = shares
        return found

    def at_random(self, episodes: int, seed: int) -> list[list[int]]:
        """Edges of episodes of random play."""
        rng, graph = np.random.default_rng(seed), self.graph
        options, found = np.diff(graph.first), list[list[int]]()
        for _ in range(episodes):
            state, edges = graph.start, list[int]()
            while options[state]:
                edge = int(graph.first[state] + rng.integers(options[state]))
                edges.append(edge)
                state = int(graph.target[edge])
            found.append(edges)
        return found

    def differing(self, episodes: Sequence[Sequence[int]]) -> Row:
        """Shares of decisions with two or more options, by objective: of all those where the best or the
        worst return to be had depends on the option ("can"), and of those that the episodes met twice or
        more where different returns followed ("seen")."""
        graph, goals = self.graph, self.story.info.select(OBJECTIVES)
        rewards, count = graph.rewards(goals), len(graph.decisions)
        ends = [np.zeros((len(graph.states), len(goals))) for _ in range(2)]
        can = np.zeros((count, len(goals)), bool)
        chosen = np.array([len(decision.options) > 1 for decision in graph.decisions])
        for state in graph.backwards.tolist():
            if (decision := int(graph.decision_of[state])) < 0:
                continue
            edges = slice(graph.first[state], graph.first[state + 1])
            for end, pick in zip(ends, (np.max, np.min), strict=True):
                values = rewards[edges] + end[graph.target[edges]]
                end[state] = pick(values, axis=0)
                can[decision] |= np.ptp(values, axis=0) > 1e-9
        owner = graph.decision_of[np.repeat(np.arange(len(graph.states)), np.diff(graph.first))]
        low, high = np.full((count, len(goals)), np.inf), np.full((count, len(goals)), -np.inf)
        visits = np.zeros(count)
        for edges in episodes:
            follows = np.cumsum(rewards[list(edges)][::-1], axis=0)[::-1]
            for edge, value in zip(edges, follows, strict=True):
                place = int(owner[edge])
                low[place], high[place] = np.minimum(low[place], value), np.maximum(high[place], value)
                visits[place] += 1
        met = chosen & (visits > 1)
        return {
            name: {"can": float(own.mean()), "seen": float(seen.mean())}
            for name, own, seen in zip(OBJECTIVES, can[chosen].T, (high - low > 1e-9)[met].T, strict=True)
        }

    def played(self, chooser: Chooser, episodes: int, seed: int) -> list[list[int]]:
        """Edges of episodes that a chooser played."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "t.jsonl"
            collect(
                self.story.make_game,
                chooser,
                out,
                episodes=episodes,
                seed=seed,
                objectives=[],
                progress=False,
            )
            played = read_trajectories(out)
        found: list[list[int]] = []
        for one in played:
            state, edges = self.graph.start, list[int]()
            for step in one.steps:
                edges.append(int(self.graph.first[state] + step.action))
                state = int(self.graph.target[edges[-1]])
            found.append(edges)
        return found


def measure(story: Explored, seed: int, settings: Settings) -> Row:
    """Shares of every way, and random episodes that take as many options."""
    episodes = story.at_random(settings.most, seed)
    random = story.new(episodes)
    ways = {RANDOM: random}
    for way, make in GUIDED.items():
        edges = story.played(make(story.story.make_game), max(settings.episodes), seed)
        ways[way] = story.new(edges)
    first = settings.episodes[0]
    found = {
        way: {
            unit: {
                **{str(count): shares[unit][count - 1] for count in settings.episodes},
                # The first random episode with as large a share; one more than there are if none has.
                "random": int(np.searchsorted(random[unit], shares[unit][first - 1])) + 1,
            }
            for unit in UNITS
        }
        for way, shares in ways.items()
    }  # fmt: skip
    return {"ways": found, "differing": story.differing(episodes[:first])}


def run(settings: Settings) -> None:
    """Measure every story and seed, and write the tables."""
    rows: dict[str, list[Row]] = {}
    for name in settings.stories:
        story: Explored | None = None
        for seed in range(1, settings.seeds + 1):
            path = settings.out / f"{name}-{seed}.json"
            if not path.exists():
                say(f"{name}, seed {seed}")
                story = story or Explored(name)
                write_json(path, measure(story, seed, settings))
            rows.setdefault(name, []).append(read_json(path))
    write_results(rows, settings)


def write_results(rows: dict[str, list[Row]], settings: Settings) -> None:
    """``coverage.json`` and ``coverage.md``."""
    cells = [
        {
            "story": name, "way": way, "unit": unit, "seeds": len(own),
            **{
                key: estimate([float(row["ways"][way][unit][key]) for row in own]).to_json()
                for key in (*map(str, settings.episodes), "random")
            },
        }
        for name, own in rows.items() for unit in UNITS for way in own[0]["ways"]
    ]  # fmt: skip
    differing = [
        {
            "story": name, "objective": objective, "seeds": len(own),
            **{
                key: estimate([row["differing"][objective][key] for row in own]).to_json()
                for key in ("can", "seen")
            },
        }
        for name, own in rows.items() for objective in OBJECTIVES
    ]  # fmt: skip
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "coverage.json", {"taken": cells, "differing": differing})
    lines = [
        "# Coverage of the stories", "", "`python experiments/coverage.py`", "",
        "Shares of the options of decisions, and of states, with two or more options; and the number of",
        f"random episodes that take as many as {settings.episodes[0]} episodes of each way (at most",
        f"{settings.most:,}). Means over {settings.seeds} seeds of play, 95 % intervals.",
        *write_table(
            ("story", "options of", "played", *(f"{count} episodes" for count in settings.episodes),
             "random episodes for as many"),
            [
                (row["story"], row["unit"], row["way"],
                 *(cell(row[str(count)], 3) for count in settings.episodes),
                 "" if row["way"] == RANDOM else cell(row["random"], 0))
                for row in cells
            ],
        ),
        "",
        "Shares of the decisions at which the best or the worst return to be had depends on the option, and,",
        f"of those that {settings.episodes[0]} random episodes met twice or more, at which different returns",
        "followed (through later choices, too).",
        *write_table(
            ("story", "objective", "depends", "seen to differ"),
            [
                (row["story"], row["objective"].replace("_", " "), f"{row['can']['mean']:.3f}",
                 cell(row["seen"], 3))
                for row in differing
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "coverage.md", lines)
    wrote(settings.results / "coverage.md", f"{len(cells)} rows")


if __name__ == "__main__":
    run(tyro.cli(Settings))
