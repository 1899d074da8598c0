"""Agents learned from as many episodes that were collected in different ways.

    python experiments/collected_agents.py

A hundred episodes of each story are played at random, by options taken least often, by plans for options
never taken, and by a language model. From each set agents of score and of harm avoidance learn their values
offline (`learn q`), and, from an oracle's comparisons of continuations, by contrastive preference learning
(`learn cpl`), on frozen features of SmolLM2-135M. Measured are exact returns and the hypervolume of eleven
weightings. Agents of offline_q_stories.py are used again. An interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from afd_lib.report import cell, over_runs, write_table
from console import say, write_page, wrote
from offline_q_lib.agents import OBJECTIVES, Greedy, Story, learn_agents

import pluralign as pl
from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.oracle import Oracle
from pluralign.collect.chooser import Chooser, PolicyChooser
from pluralign.collect.coverage import CoverageChooser
from pluralign.collect.planned import PlannedCoverage
from pluralign.core.files import read_json, write_json
from pluralign.core.records import read_pairs
from pluralign.evaluate.statistics import paired_difference
from pluralign.games.choicescript.load import list_stories
from pluralign.learn.options.cpl import fit_cpl
from pluralign.learn.options.q import QConfig
from pluralign.options.language_policy import LanguageModelPolicy
from pluralign.options.open import Models
from pluralign.pair.pairs import pair
from pluralign.workflows.main_job import JobSettings, cpl_config

SOURCES = {
    "random": "pessimistic", "coverage": "coverage play", "planned": "planned play",
    "language model": "language model play",
}  # fmt: skip
"""Ways to collect, with the names of the folders of their agents."""
METHODS = ("learn q", "learn cpl")
COLUMNS = {
    "score, share of best": lambda found: found["score"]["greedy"] / found["score"]["best"],
    "score as served, share of best": lambda found: found["score"]["served"] / found["score"]["best"],
    "harm avoidance": lambda found: found["harm_avoidance"]["greedy"],
    "harm avoidance as served": lambda found: found["harm_avoidance"]["served"],
    "hypervolume": lambda found: found["volume"],
}
"""Columns of the tables by name."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        agents: Folder of the agents of `learn q`.
        features: Folder that keeps the features between runs.
        model: Frozen trunk, and the language model that plays.
        seeds: Number of seeds of play and of training, counted from 1.
        stories: Names of the stories.
        episodes: Number of episodes of each way to collect.
        comparisons: Number of the oracle's comparisons for each objective.
        steps: Number of optimizer steps of all methods; None for their defaults.
        results: Folder of the result files.
    """

    out: Path = Path("runs/collected_agents")
    agents: Path = Path("runs/offline_q/agents")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    seeds: int = 3
    stories: tuple[str, ...] = tuple(list_stories())
    episodes: int = 100
    comparisons: int = JobSettings.comparisons
    steps: int | None = None
    results: Path = Path(__file__).parent / "results"


class Experiment:
    """Everything that is collected and learned.

    Args:
        settings: See `Settings`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = Models(settings.model, settings.features)

    def chooser(self, source: str, story: Story) -> Chooser:
        """The chooser of one way to collect."""
        choosers: dict[str, Callable[[], Chooser]] = {
            "random": lambda: PolicyChooser(pl.UniformPolicy()),
            "coverage": CoverageChooser,
            "planned": lambda: PlannedCoverage(story.game.make_game),
            "language model": lambda: PolicyChooser(
                LanguageModelPolicy(
                    self.models.language_model, self.models.store, temperature=JobSettings.temperature
                )
            ),
        }
        return choosers[source]()

    def measure(self, source: str, story: Story, seed: int) -> Row:
        """Collect in one way, learn by both methods, and measure."""
        place = self.settings.out / f"{story.name}-{seed}-{source.replace(' ', '-')}"
        file = place / "trajectories.jsonl"
        played, covered = story.played(self.chooser(source, story), self.settings.episodes, seed, file)
        number = QConfig.steps if self.settings.steps is None else self.settings.steps
        store = self.models.store
        q = learn_agents(story, SOURCES[source], played, seed, self.settings.agents, store, number)
        cpl = {goal.name: self._cpl(file, played, goal, seed) for goal in story.objectives}
        store.flush()
        learned = zip(METHODS, (q, cpl), strict=True)
        return {"covered": covered, **{method: _measured(story, agents) for method, agents in learned}}

    def _cpl(
        self, file: Path, played: Sequence[pl.Trajectory], objective: pl.Objective, seed: int
    ) -> pl.Policy:
        annotations = file.parent / f"annotations-{objective.name}.jsonl"
        pairs = file.parent / f"pairs-{objective.name}.jsonl"
        whole = ComparisonSettings(count=self.settings.comparisons, seed=seed)
        annotate(file, annotations, objective, Oracle(played, seed=seed), settings=whole)
        pair([annotations], pairs, objective=objective.name, ties="soft")
        config = cpl_config()
        if self.settings.steps is not None:
            config = type(config)(**{**vars(config), "steps": self.settings.steps})
        return fit_cpl(
            read_pairs(pairs), store=self.models.store, out=file.parent / f"cpl-{objective.name}",
            config=config, seed=seed,
        )  # fmt: skip


def _measured(story: Story, agents: Any) -> Row:
    found: Row = {"volume": story.share(agents)}
    for column, name in enumerate(OBJECTIVES):
        found[name] = {
            "greedy": story.returns(Greedy(agents[name]))[column],
            "served": story.returns(agents[name])[column],
            "best": float(story.front.best[column]),
        }
    return found


def run(settings: Settings) -> None:
    """Measure every story, seed and way to collect, and write the tables as results come."""
    rows: list[Row] = []
    experiment, stories = Experiment(settings), {name: Story(name) for name in settings.stories}
    for seed in range(1, settings.seeds + 1):
        for name, story in stories.items():
            path = settings.out / f"{name}-{seed}.json"
            known = read_json(path) if path.exists() else {}
            for source in SOURCES:
                if source not in known:
                    say(f"{source}, {settings.episodes} episodes of {name}, seed {seed}")
                    known[source] = experiment.measure(source, story, seed)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, known)
            rows.append({"story": name, "seed": seed, "sources": known})
            write_results(rows, settings)
    wrote(settings.results / "collected_agents.md", f"{len(rows) * len(SOURCES)} sets of episodes")


def summary(rows: Sequence[Row], method: str, source: str) -> Row:
    """Means over rows with 95 % intervals, and differences from random play."""
    found: Row = {}
    for name, column in COLUMNS.items():
        values, random = ([column(row["sources"][one][method]) for row in rows] for one in (source, "random"))
        found[name] = {**over_runs(values)}
        if source != "random" and len(rows) > 1:
            found[name]["ahead"] = paired_difference(values, random).to_json()
    return found


def write_results(rows: Sequence[Row], settings: Settings) -> None:
    """``collected_agents.json`` and ``collected_agents.md``."""
    settings.results.mkdir(parents=True, exist_ok=True)
    groups = {name: [row for row in rows if row["story"] == name] for name in settings.stories}
    groups = {**{name: own for name, own in groups.items() if own}, "all": list(rows)}
    cells = [
        {
            "method": method, "story": story, "source": source, "trainings": len(own),
            "covered": over_runs([row["sources"][source]["covered"] for row in own]),
            **summary(own, method, source),
        }
        for method in METHODS for story, own in groups.items() for source in SOURCES
    ]  # fmt: skip
    write_json(settings.results / "collected_agents.json", cells)
    lines = [
        "# Agents by how their episodes were collected", "", "`python experiments/collected_agents.py`", "",
        f"From {settings.episodes} episodes of each way: exact returns of the most likely options of each",
        "objective's agent, and of the agent as served; hypervolume of eleven weightings in shares of the",
        "exact front. Means over seeds of play and training, 95 % intervals; differences from random play in",
        "rows of their own, over all stories and seeds.",
    ]  # fmt: skip
    for method in METHODS:
        lines += ["", f"## {method}"]
        own = [one for one in cells if one["method"] == method]
        table = [
            (one["story"], one["source"], cell(one["covered"], 3),
             *(cell(one[name], _digits(name)) for name in COLUMNS))
            for one in own
        ]  # fmt: skip
        table += [
            ("all, ahead of random play", one["source"], "",
             *(cell(one[name].get("ahead"), _digits(name)) for name in COLUMNS))
            for one in own if one["story"] == "all" and one["source"] != "random"
        ]  # fmt: skip
        lines += write_table(("story", "played", "options taken", *COLUMNS), table)
    write_page(settings.results / "collected_agents.md", lines)


def _digits(column: str) -> int:
    return 2 if column.startswith("harm") else 3


if __name__ == "__main__":
    run(tyro.cli(Settings))
