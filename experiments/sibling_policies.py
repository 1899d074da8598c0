"""Policies learned from recorded random play by what each option did better than its siblings.

    python experiments/sibling_policies.py

From the same random episodes of each story: behaviour cloning, cloning weighted by the advantages over
siblings (`learn bc --objective`), contrastive preference learning on the soft pairs of siblings (`pair
siblings`), and values learned offline (`learn q`), all on frozen features of SmolLM2-135M and with their
defaults. Measured are exact returns of the policies as they are, and of their most likely options. The agents
of `learn q` from 100 episodes are those of offline_q_stories.py. An interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tyro
from afd_lib.report import cell, over_runs, write_table
from console import say, write_page, wrote
from offline_q_lib.agents import OBJECTIVES, Greedy, Story, learn_agents

import pluralign as pl
from pluralign.collect.chooser import PolicyChooser
from pluralign.core.files import read_json, write_json
from pluralign.evaluate.statistics import paired_difference
from pluralign.games.choicescript.load import list_stories
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.q import QConfig
from pluralign.options.open import Models

METHODS = ("cloning", "cloning by siblings", "CPL on sibling pairs", "learn q")
READINGS = ("as it is", "most likely options")
Learned = Mapping[str, pl.Policy]
"""The policy of each objective."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        agents: Folder of the agents of `learn q`.
        features: Folder that keeps the features between runs.
        model: Frozen trunk.
        seeds: Number of seeds of play and of training, counted from 1.
        stories: Names of the stories.
        episodes: Numbers of random episodes.
        steps: Number of optimizer steps of all methods; None for their defaults.
        results: Folder of the result files.
    """

    out: Path = Path("runs/sibling_policies")
    agents: Path = Path("runs/offline_q/agents")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    seeds: int = 3
    stories: tuple[str, ...] = tuple(list_stories())
    episodes: tuple[int, ...] = (100, 1000)
    steps: int | None = None
    results: Path = Path(__file__).parent / "results"


def learners(story: Story, episodes: int, seed: int, settings: Settings) -> dict[str, Callable[[], Learned]]:
    """The methods, each as a function that trains its policies or reads them."""
    store = Models(settings.model, settings.features).store
    played, _ = story.played(PolicyChooser(pl.UniformPolicy()), episodes, seed)
    place = settings.out / f"{story.name}-{seed}-{episodes}"
    steps = {} if settings.steps is None else {"steps": settings.steps}

    def clone(name: str, objective: pl.Objective | None) -> pl.Policy:
        return fit_bc(
            played, store=store, out=place / name, objective=objective, config=BCConfig(**steps), seed=seed
        )

    def contrast(objective: pl.Objective) -> pl.Policy:
        pairs = pl.sibling_pairs(played, objective, shares=(1, 0, 0))
        return fit_cpl(
            pairs, store=store, out=place / f"cpl-{objective.name}", config=CPLConfig(**steps),
            trajectories=played, seed=seed,
        )  # fmt: skip

    def values() -> Learned:
        number = QConfig.steps if settings.steps is None else settings.steps
        return learn_agents(story, "pessimistic", played, seed, settings.agents, store, number)

    ways: Sequence[Callable[[], Learned]] = (
        lambda: dict.fromkeys(OBJECTIVES, clone("bc", None)),
        lambda: {one.name: clone(f"siblings-{one.name}", one) for one in story.objectives},
        lambda: {one.name: contrast(one) for one in story.objectives},
        values,
    )
    return dict(zip(METHODS, ways, strict=True))


def measure(story: Story, policies: Learned) -> dict[str, dict[str, float]]:
    """Exact returns of each objective's policy on its objective, by reading; scores in shares of the best."""
    found: dict[str, dict[str, float]] = {}
    for column, name in enumerate(OBJECTIVES):
        unit = float(story.front.best[column]) if name == "score" else 1.0
        returns = [story.returns(policy)[column] for policy in (policies[name], Greedy(policies[name]))]
        found[name] = {reading: value / unit for reading, value in zip(READINGS, returns, strict=True)}
    return found


def run(settings: Settings) -> None:
    """Train and measure all policies, and write the tables as results come."""
    rows: list[dict[str, Any]] = []
    stories = {name: Story(name) for name in settings.stories}
    for episodes in settings.episodes:
        for seed in range(1, settings.seeds + 1):
            for name, story in stories.items():
                path = settings.out / f"{name}-{seed}-{episodes}.json"
                known = read_json(path) if path.exists() else {}
                for method, learn in learners(story, episodes, seed, settings).items():
                    if method not in known:
                        say(f"{method}, {episodes} episodes of {name}, seed {seed}")
                        known[method] = measure(story, learn())
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_json(path, known)
                rows.append({"story": name, "seed": seed, "episodes": episodes, "methods": known})
                write_results(rows, settings.results)
    wrote(settings.results / "sibling_policies.md", f"{len(rows)} sets of episodes")


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over rows with 95 % intervals, by objective and reading, and what each method is ahead of the one
    before it."""
    found: dict[str, Any] = {}
    for objective in OBJECTIVES:
        for reading in READINGS:
            values = {m: [row["methods"][m][objective][reading] for row in rows] for m in METHODS}
            own: dict[str, Any] = {method: over_runs(values[method]) for method in METHODS}
            if len(rows) > 1:
                own["ahead"] = {
                    after: paired_difference(values[after], values[before]).to_json()
                    for before, after in pairwise(METHODS)
                }
            found[f"{objective}, {reading}"] = own
    return found


def write_results(rows: Sequence[dict[str, Any]], results: Path) -> None:
    """``sibling_policies.json`` and ``sibling_policies.md``."""
    results.mkdir(parents=True, exist_ok=True)
    groups = list(dict.fromkeys((row["episodes"], row["story"]) for row in rows))
    cells = [
        {"episodes": episodes, "story": story, "seeds": len(own), **summary(own)}
        for episodes, story in groups
        for own in [[row for row in rows if (row["episodes"], row["story"]) == (episodes, story)]]
    ]
    across = [
        {"episodes": episodes, "trainings": len(own), **summary(own)}
        for episodes in dict.fromkeys(row["episodes"] for row in rows)
        for own in [[row for row in rows if row["episodes"] == episodes]]
    ]
    write_json(results / "sibling_policies.json", {"stories": cells, "all": across})
    lines = [
        "# Policies from recorded random play", "", "`python experiments/sibling_policies.py`", "",
        "Exact returns of each objective's policy: scores in shares of the best attainable score, harm",
        "avoidance in points (0 is best). Means over seeds of play and training, 95 % intervals.",
    ]  # fmt: skip
    for objective in OBJECTIVES:
        for reading in READINGS:
            key = f"{objective}, {reading}"
            lines += ["", f"## {objective.replace('_', ' ')}, {reading}"]
            lines += _table(key, cells, across, 3 if objective == "score" else 2)
    write_page(results / "sibling_policies.md", lines)


def _table(
    key: str, cells: Sequence[dict[str, Any]], across: Sequence[dict[str, Any]], digits: int
) -> list[str]:
    head = ("story", "episodes", *METHODS)
    rows = [
        (one["story"], str(one["episodes"]), *(cell(one[key][method], digits) for method in METHODS))
        for one in cells
    ]
    for one in across:
        shown = (cell(one[key][method], digits) for method in METHODS)
        rows.append((f"all ({one['trainings']} trainings)", str(one["episodes"]), *shown))
        ahead = one[key].get("ahead", {})
        shown = (cell(ahead.get(method), digits) for method in METHODS)
        rows.append(("ahead of the column before", str(one["episodes"]), *shown))
    return write_table(head, rows)


if __name__ == "__main__":
    run(tyro.cli(Settings))
