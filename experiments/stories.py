"""Results of the main job on the four stories: one-hot agents, sweeps, raters; docs/papers.md has the table.

    python experiments/stories.py --out runs/stories

An interrupted run continues: each story and seed has its own folder. Returns are exact expectations over a
story's reachable states, so seeds differ only by training data and training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, write_page, wrote

from pluralign.core import SteeringWeights, UniformPolicy, simplex_grid
from pluralign.core.files import read_json, write_json
from pluralign.core.pareto import hypervolume_ratio
from pluralign.evaluate.rank_correlation import spearman
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import exact_front, exact_returns
from pluralign.games.state_graph import StateGraph, explore
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC
from pluralign.steer.steered_policy import SteeredPolicy
from pluralign.workflows import main_job
from pluralign.workflows.main_job import JobSettings, MainJob

RESULTS = Path(__file__).parent / "results"
POWERS = {"arithmetic": ARITHMETIC, "geometric": GEOMETRIC, "harmonic": HARMONIC}
GRIDS = (10, 20)
"""Steps of the sweep: the poster's eleven weights, and a grid twice as fine."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        seeds: Number of seeds, counted from 1; seed 0 was used to choose the settings.
        stories: Names of the stories.
        job: Other settings of each run; its story and seed are replaced.
        results: Folder of the result files.
    """

    out: Path = Path("runs/stories")
    seeds: int = 4
    stories: tuple[str, ...] = tuple(list_stories())
    job: JobSettings = field(default_factory=JobSettings)
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Run every story and seed, and write the table as results come."""
    rows: list[dict[str, Any]] = []
    for story in settings.stories:
        for seed in range(1, settings.seeds + 1):
            folder = settings.out / f"{story}-{seed}"
            result = folder / "figures.json"
            if not result.exists():
                say(f"{story}, seed {seed}")
                write_json(result, measure(MainJob(folder, replace(settings.job, story=story, seed=seed))))
            rows.append(read_json(result))
            write_results(rows, settings)
    wrote(settings.results / "stories.md", f"{len(rows)} runs")


def measure(job: MainJob) -> dict[str, Any]:
    """Collect, annotate with the oracle, pair, train, and measure exactly."""
    # Features depend only on the story's text, so the seeds of a story share them.
    job.models.features = job.folder.parent / "features"
    main_job.collect_offline(job)
    main_job.annotate_by_oracle(job)
    main_job.pair_all(job, {"oracle": "soft"})
    main_job.learn_all(job, ["oracle"])
    graph = explore(job.make_game())
    figures: dict[str, Any] = {"story": job.settings.story, "seed": job.settings.seed, "sweeps": {}}
    names = list(job.settings.objectives)
    front = exact_front(graph, job.objectives)
    agents = job.open("oracle")
    for i, name in enumerate(names):
        mean = exact_returns(graph, agents[name], job.objectives).objectives[name]
        best, worst = float(front.best[i]), float(front.worst[i])
        random = exact_returns(graph, UniformPolicy(), job.objectives).objectives[name]
        figures[name] = {
            "mean": mean,
            "best": best,
            "worst": worst,
            "random": random,
            "share_of_range": (mean - worst) / (best - worst),
            "share_above_random": (mean - random) / (best - random),
        }
    for mixture, power in POWERS.items():
        for steps in GRIDS:
            grid = simplex_grid(names, steps)
            figures["sweeps"][f"{mixture} {steps + 1}"] = _sweep(job, graph, grid, power, front)
    return figures


def _sweep(
    job: MainJob, graph: StateGraph, grid: list[SteeringWeights], power: float, front: Any
) -> dict[str, Any]:
    agents, names = job.open("oracle"), list(job.settings.objectives)
    points: list[list[float]] = []
    violations: list[float] = []
    for weights in grid:
        found = exact_returns(graph, SteeredPolicy(agents, weights, power), job.objectives)
        points.append([found.objectives[name] for name in names])
        violations.append(sum(v for m, v in found.counts.items() if m.startswith("violations.")))
    ethics = np.array([weights[names[1]] for weights in grid])
    return {
        "hypervolume_ratio": hypervolume_ratio(points, front.points, front.worst),
        "spearman": spearman(ethics, np.array(violations)).value,
        "points": np.round(points, 3).tolist(),
    }


def write_results(rows: list[dict[str, Any]], settings: Settings) -> None:
    """``stories.json`` and ``stories.md``."""
    config = asdict(main_job.cpl_config())
    job = asdict(settings.job)
    write_json(settings.results / "stories.json", {"job": job, "cpl": config, "runs": rows})
    lines = [
        "# The main job on four stories",
        "",
        "`python experiments/stories.py`",
        "",
        f"{job['model']} plays {job['episodes']} episodes; the oracle compares {job['comparisons']} pairs of "
        "continuations; CPL with "
        f"{', '.join(f'{k} {v}' for k, v in config.items())}. Exact expected returns; "
        f"mean and range over seeds 1 to {settings.seeds}. Seed 0 chose the settings.",
        "",
        "| story | score agent, % of the best | harm agent, % of the range | Spearman |"
        " HV, geometric, 11 weights | 21 weights | HV, arithmetic, 11 | 21 | HV, harmonic, 11 | 21 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for story in dict.fromkeys(row["story"] for row in rows):
        of_story = [row for row in rows if row["story"] == story]
        cells = [
            _span([100 * row["score"]["mean"] / row["score"]["best"] for row in of_story], 1),
            _span([100 * row["harm_avoidance"]["share_of_range"] for row in of_story], 1),
            _span([row["sweeps"]["geometric 11"]["spearman"] for row in of_story], 2),
        ]
        for mixture in ("geometric", "arithmetic", "harmonic"):
            for steps in GRIDS:
                found = [row["sweeps"][f"{mixture} {steps + 1}"]["hypervolume_ratio"] for row in of_story]
                cells.append(_span(found, 3))
        lines.append(f"| {story} | {' | '.join(cells)} |")
    write_page(settings.results / "stories.md", lines)


def _span(values: list[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    run(tyro.cli(Settings, description=__doc__))
