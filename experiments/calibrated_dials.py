"""Dials that are calibrated by a few evaluated weightings; docs/papers.md has the table.

    python experiments/calibrated_dials.py --out runs/calibrated_dials

Each story and seed has learned agents of three objectives; 66 weightings of their mixture are evaluated
exactly. A surrogate (`pluralign.steer.surrogate`) sees a few of them, and is asked for the outcomes of the
others, for the best weights of simulated users, and for the front.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import over_runs
from console import say, write_page, wrote
from dials_lib.stories import measure
from weights_lib.stories import agents

from pluralign.core.files import read_json, write_json
from pluralign.games.choicescript.load import list_stories
from pluralign.workflows.main_job import JobSettings

RESULTS = Path(__file__).parent / "results"
OBJECTIVES = ("score", "harm_avoidance", "power_avoidance")
COLUMNS = {
    "r2": "R2", "regret": "regret", "volume": "volume", "optimism": "optimism",
    "checked_volume": "volume with the predicted front",
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        agents: Working folder of the agents, which are trained if they are not there.
        seeds: Number of training seeds, counted from 1.
        stories: Names of the stories.
        draws: Number of random designs per budget.
        steps: Number of steps of the grid of weightings.
        job: Other settings of the agents' training; its story, seed and objectives are replaced.
        results: Folder of the result files.
    """

    out: Path = Path("runs/calibrated_dials")
    agents: Path = Path("runs/calibrated_dials/agents")
    seeds: int = 4
    stories: tuple[str, ...] = tuple(list_stories())
    draws: int = 10
    steps: int = 10
    job: JobSettings = field(default_factory=JobSettings)
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Measure every story and seed, and write the table as results come."""
    rows: list[Row] = []
    for seed in range(1, settings.seeds + 1):
        for story in settings.stories:
            path = settings.out / f"{story}-{seed}.json"
            if not path.exists():
                say(f"{story}, seed {seed}")
                job = agents(story, seed, settings.agents, replace(settings.job, objectives=OBJECTIVES))
                write_json(path, list(measure(job, settings.draws, settings.steps)))
            rows += [{"story": story, "seed": seed, **row} for row in read_json(path)]
            write_results(rows, settings)
    wrote(settings.results / "calibrated_dials.md", f"{len(rows)} rows")


def write_results(rows: list[Row], settings: Settings) -> None:
    """``calibrated_dials.json`` (means) and ``calibrated_dials.md``."""
    cells = list(_cells(rows))
    write_json(settings.results / "calibrated_dials.json", cells)
    seeds: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        seeds[row["story"]].add(row["seed"])
    trainings = ", ".join(f"{story} {len(own)}" for story, own in sorted(seeds.items()))
    lines = [
        "# Calibrated dials",
        "",
        "`python experiments/calibrated_dials.py`",
        "",
        *textwrap.wrap(
            f"Three objectives ({', '.join(OBJECTIVES)}), agents learned by CPL from "
            f"{settings.job.comparisons:,} comparisons (training seeds: {trainings}). Returns of 66 "
            "weightings of the geometric mixture are exact; the surrogate sees as many as the budget "
            "says (`50 episodes`: mean returns of 50 played episodes instead). R2: share of the "
            "variance of the weightings not seen, mean over objectives. Regret: of the weights that "
            "the surrogate finds best for each of 18 users, in shares of their utility's range over the 66 "
            "weightings. Volume: hypervolume of what was evaluated, divided by that of all 66. Optimism: "
            "hypervolume predicted for ten weightings of the predicted front, divided by the one found when "
            "they are evaluated, minus 1; and the volume with these ten. Intervals of 95 % over seeds.",
            100,
        ),
        "",
        f"| story | budget | weightings seen | {' | '.join(COLUMNS.values())} |",
        "|---|---:|---|" + "---:|" * len(COLUMNS),
    ]
    for cell in cells:
        figures = " | ".join(_interval(cell.get(name)) for name in COLUMNS)
        lines.append(f"| {cell['story']} | {cell['budget'] or ''} | {cell['way']} | {figures} |")
    write_page(settings.results / "calibrated_dials.md", lines)


def _cells(rows: list[Row]) -> Iterator[Row]:
    """Means over draws, then an estimate over seeds, by story, budget and way."""
    groups: dict[tuple[str, int, str], dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row["story"], row["budget"], row["way"]][row["seed"]].append(row)
    for (story, budget, way), by_seed in sorted(groups.items(), key=lambda item: item[0]):
        found: Row = {"story": story, "budget": budget, "way": way, "seeds": len(by_seed)}
        for name in COLUMNS:
            means = [float(np.mean([row[name] for row in own])) for own in by_seed.values() if name in own[0]]
            if figure := over_runs(means):
                found[name] = figure
        yield found


def _interval(figure: Row | None) -> str:
    if figure is None:
        return ""
    ends = f" ({figure['low']:.4f} to {figure['high']:.4f})" if "low" in figure else ""
    return f"{figure['mean']:.4f}{ends}"


if __name__ == "__main__":
    run(tyro.cli(Settings))
