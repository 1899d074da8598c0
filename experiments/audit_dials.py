"""Do the values of mixtures of trained agents move with the dial? The audit's figures along a grid of dials.

    python experiments/audit_dials.py --agents FOLDER

FOLDER is the working folder of ``experiments/stories.py``, whose agents (CPL with the oracle's labels) for
score and harm avoidance are mixed under dials from 0 to 1. Under each dial the mixture is asked at every
decision of a story. Its utility of an option is the log-probability. Reported are, by dial: Spearman's
correlation of differences of utilities with differences of exact returns (the best return that an option
leaves attainable), by objective, over all pairs of options of a decision; and the weights by which the
mixture acts (`calibrate`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, wrote
from scipy.stats import spearmanr
from weights_lib.stories import agents

import pluralign as pl
from pluralign.core.files import write_json, write_text
from pluralign.elicit.calibration import calibrate
from pluralign.elicit.grounding import questions_by_returns
from pluralign.games.choicescript.load import list_stories
from pluralign.games.state_graph import explore
from pluralign.workflows.main_job import JobSettings

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        agents: Folder of the stories' agents.
        seeds: Number of training seeds.
        stories: Names of the stories.
        steps: Number of steps of the grid of dials.
        job: Other settings of the stories' agents.
        results: Folder of the result files.
    """

    agents: Path = Path("runs/stories")
    seeds: int = 3
    stories: tuple[str, ...] = tuple(list_stories())
    steps: int = 10
    job: JobSettings = field(default_factory=JobSettings)
    results: Path = Path(__file__).parent / "results"


def run(settings: Settings) -> None:
    """Measure all stories and seeds, and write audit_dials.json and audit_dials.md."""
    rows: list[Row] = []
    for story in settings.stories:
        for seed in range(1, settings.seeds + 1):
            rows.append({"story": story, "seed": seed, **measure(story, seed, settings)})
            say(f"{story}, seed {seed}")
            write_json(settings.results / "audit_dials.json", {"steps": settings.steps, "rows": rows})
    wrote(write_text(settings.results / "audit_dials.md", table(rows, settings.steps)), "table")


def measure(story: str, seed: int, settings: Settings) -> Row:
    """Correlations and implied weights by dial."""
    job = agents(story, seed, settings.agents, settings.job)
    first, second = job.settings.objectives
    pool = questions_by_returns(explore(job.make_game()), job.objectives)
    mixture = pl.SteeredPolicy(job.open("oracle"), pl.SteeringWeights.uniform([first, second]))
    pairs = [(number, i, j) for number, one in enumerate(pool)
             for i, j in combinations(range(len(one.values)), 2)]  # fmt: skip
    returns = {
        name: np.array([pool[n].values[i][name] - pool[n].values[j][name] for n, i, j in pairs])
        for name in (first, second)
    }
    found: dict[str, list[float]] = {first: [], second: []}
    for step in range(settings.steps + 1):
        share = step / settings.steps
        mix = pl.SteeringWeights({first: share, second: 1 - share})
        utilities = mixture.with_weights(mix).log_probs([one.decision for one in pool])
        apart = np.array([utilities[n][i] - utilities[n][j] for n, i, j in pairs])
        for name in found:
            found[name].append(float(spearmanr(apart, returns[name]).statistic))
    implied = calibrate(pool, mixture.with_weights, steps=settings.steps)
    order = np.argsort(implied.dials[:, 0])
    return {"objectives": [first, second], "decisions": len(pool), "pairs": len(pairs),
            "spearman": found, "implied": implied.implied[order, 0].tolist()}  # fmt: skip


def rising(path: list[float]) -> int:
    """Number of steps along which a figure does not fall."""
    return int((np.diff(path) >= -1e-12).sum())


def table(rows: list[Row], steps: int) -> str:
    """The results as Markdown."""
    middle = steps // 2
    lines = [
        "# Values of mixtures along the dial",
        "",
        "`python experiments/audit_dials.py --agents DIR`: agents trained by CPL for score and harm",
        f"avoidance, mixed under {steps + 1} dials. Utilities: log-probabilities of options. "
        "Spearman's correlation of",
        "utility differences with differences of the best attainable returns, over pairs of options of a",
        "decision, at dial 0, 1/2 and 1 on the score. Rising: steps along which the figure does not fall,",
        "harm's read from 1 to 0. Implied weight: that of the score by which the mixture acts.",
        "",
        "| story | seed | pairs | with score | rising | with harm avoidance | rising | implied weight "
        "| rising |",
        "|---|---:|---:|---|---:|---|---:|---|---:|",
    ]
    for row in rows:
        score, harm = (row["spearman"][name] for name in row["objectives"])
        cells = [" / ".join(f"{path[place]:.2f}" for place in (0, middle, steps))
                 for path in (score, harm, row["implied"])]  # fmt: skip
        counts = [f"{rising(path)} of {steps}" for path in (score, harm[::-1], row["implied"])]
        parts = " | ".join(f"{cell} | {count}" for cell, count in zip(cells, counts, strict=True))
        lines.append(f"| {row['story'].replace('_', ' ')} | {row['seed']} | {row['pairs']} | {parts} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(tyro.cli(Settings))
