"""Dials that are calibrated by a few evaluated weightings, in text; docs/papers.md has the table.

    python experiments/calibrated_text.py --data FOLDER --policies runs/measured_text

``--policies`` is the working folder of `measured_text.py`, whose finished seeds are taken. Mixtures of three
of its policies answer test prompts under 28 weightings, and the program that trained each policy measures the
answers. A surrogate sees a few weightings' means over half of the prompts; what it says of the other
weightings, and the weights that it proposes to simulated users, are compared with the means over the other
half. An interrupted run continues.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import cell, over_runs
from console import say, write_page, wrote
from dials_lib.figures import figures, regret, users_of
from measured_lib.measures import QUALITIES
from measured_lib.prompts import parts
from measured_lib.settings import ASK

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, write_json
from pluralign.core.pareto import rescale
from pluralign.evaluate.sweeps.alternatives import Alternatives
from pluralign.evaluate.sweeps.fronts import reference_below
from pluralign.evaluate.sweeps.prompts import sweep
from pluralign.steer.design import design

BUDGETS = (6, 10)


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        policies: Working folder of `measured_text.py`.
        out: Working folder.
        objectives: Three objectives.
        model: Base model of the policies.
        trained: Number of `measured_text.py`'s training prompts.
        tests: Number of its test prompts.
        prompts: Number of these that are answered; the surrogate sees the first half of them.
        steps: Number of steps of the grid of weightings.
        tokens: Number of new tokens of every answer.
        temperature: Sampling temperature.
        results: Folder of the result files.
    """

    data: Path
    policies: Path = Path("runs/measured_text")
    out: Path = Path("runs/calibrated_text")
    objectives: tuple[str, str, str] = ("cheerful", "brief", "plain")
    model: str = "smollm2-135m"
    trained: int = 160
    tests: int = 200
    prompts: int = 100
    steps: int = 6
    tokens: int = 56
    temperature: float = 0.7
    results: Path = Path(__file__).parent / "results"


class Grid:
    """Mean measures of a grid of weightings, scaled to their range over it (`dials_lib.figures.Outcomes`).

    Args:
        names: Objectives.
        grid: Weightings.
        means: Mean measures, shape (weightings, objectives).
        scale: Means by which they are scaled, of the same shape.
    """

    def __init__(
        self, names: list[str], grid: list[pl.SteeringWeights], means: FloatArray, scale: FloatArray
    ) -> None:
        self.names, self.grid = names, grid
        self.array = np.array([weights.aligned_to(names) for weights in grid])
        self.exact = rescale(means, scale.min(axis=0), scale.max(axis=0))
        self.reference = reference_below(self.exact)

    def nearest(self, weights: pl.SteeringWeights) -> int:
        """Place of the weighting of the grid that is nearest to another one."""
        return int(np.square(self.array - weights.aligned_to(self.names)).sum(axis=1).argmin())

    def of(self, weights: pl.SteeringWeights) -> FloatArray:
        """Outcomes of the nearest weighting, shape (objectives,)."""
        return self.exact[self.nearest(weights)]


def measure(settings: Settings, seed: str) -> Iterator[dict[str, Any]]:
    """Rows of one training seed."""
    names, folder = list(settings.objectives), settings.policies / seed
    policies = {
        name: folder / f"dpo-{name}-{read_json(folder / f'chosen-{name}.json')['rate']:g}" for name in names
    }
    _, questions = parts(settings.data, (settings.trained, settings.tests), 0)
    answered = [{"role": "user", "content": one + ASK} for one in questions[: settings.prompts]]
    place = settings.out / seed
    found = sweep(
        policies, [{"prompt": [one]} for one in answered],
        {name: QUALITIES[name].reward for name in names}, model=settings.model,
        steps=settings.steps, alternatives=Alternatives(()), max_new_tokens=settings.tokens,
        temperature=settings.temperature,
        template="chat", seed=int(seed), folder=place,
    )  # fmt: skip
    points = [point for point in found.points if point.weights is not None]
    by_prompt = np.array([[point.rewards[name] for name in names] for point in points])
    half = settings.prompts // 2
    seen, judged = by_prompt[..., :half].mean(axis=-1), by_prompt[..., half:].mean(axis=-1)
    grid = [point.weights for point in points if point.weights is not None]
    own, others = (Grid(names, grid, means, seen) for means in (seen, judged))
    users = users_of(names)
    plain = [regret(others, wish, wish) for wish in users]
    yield {"budget": 0, "way": "utility as weights", "regret": float(np.mean(plain))}
    for budget in BUDGETS:
        places = list(dict.fromkeys(own.nearest(weights) for weights in design(names, budget)))
        chosen = [grid[i] for i in places]
        yield {"budget": budget, "way": "the same prompts", **figures(own, chosen, own.exact[places], users)}
        yield {"budget": budget, "way": "other prompts", **figures(others, chosen, own.exact[places], users)}


def run(settings: Settings) -> None:
    """Measure every finished seed, and write the table as results come."""
    seeds = sorted(path.parent.name for path in settings.policies.glob("*/chosen-plain.json"))
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        path = settings.out / f"{seed}.json"
        if not path.exists():
            say(f"seed {seed}")
            write_json(path, list(measure(settings, seed)))
        rows += read_json(path)
        write_results(rows, settings)
    wrote(settings.results / "calibrated_text.md", f"{len(seeds)} seeds")


def write_results(rows: list[dict[str, Any]], settings: Settings) -> None:
    """``calibrated_text.json`` (means) and ``calibrated_text.md``."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["budget"], row["way"]].append(row)
    seeds = len(groups[0, "utility as weights"])
    cells = [
        {"budget": budget, "way": way, **_estimates(own)} for (budget, way), own in sorted(groups.items())
    ]
    write_json(settings.results / "calibrated_text.json", {"seeds": seeds, "cells": cells})
    lines = [
        "# Calibrated dials in text",
        "",
        *textwrap.wrap(
            f"Three objectives ({', '.join(settings.objectives)}); {seeds} training seeds; a grid of "
            f"mixtures with steps of 1/{settings.steps}; the surrogate sees means over half of "
            f"{settings.prompts} prompts, and is judged by the same or the other half. R2: share of the "
            "variance of the weightings not seen, mean over objectives, and the least of them. Regret: of "
            "the weights that the surrogate finds best for each of 18 users (the nearest of the grid are "
            "served), in shares of their utility's range over the grid. Intervals of 95 % over seeds.",
            100,
        ),
        "",
        "| weightings seen | judged on | R2 | least R2 | regret |",
        "|---:|---|---:|---:|---:|",
    ]
    for one in cells:
        shown = (cell(one[name]) if name in one else "" for name in ("r2", "least_r2", "regret"))
        lines.append(f"| {one['budget'] or ''} | {one['way']} | {' | '.join(shown)} |")
    write_page(settings.results / "calibrated_text.md", lines)


def _estimates(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {name: over_runs([row.get(name) for row in rows]) for name in ("r2", "least_r2", "regret")}
    return {name: figure for name, figure in found.items() if figure is not None}


if __name__ == "__main__":
    run(tyro.cli(Settings))
