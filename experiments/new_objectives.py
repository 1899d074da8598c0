"""Objectives that are invented after training, on tables; docs/papers.md has the figures.

    python experiments/new_objectives.py --data DIR

DIR contains ``morl_fronts/``. A reward-free representation (forward-backward, as in MORL-FB) is trained
without any objective and then asked for all weightings of several; it is exact here, so that only the number
of its features, or of its policies, limits it. Compared with plans for each weighting, and with policies that
were planned for all objectives but one. An interrupted run continues.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, write_page, wrote
from new_objectives_lib.measures import features, improved, plan, returns, seen, step_values
from new_objectives_lib.problems import Problem, problems

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, write_json
from pluralign.core.pareto import hypervolume, undominated

RESULTS = Path(__file__).parent / "results"
PLANNED, FEATURES, POLICIES, OTHERS = (
    "planned for each weighting", "features", "policies of random rewards",
    "policies of all objectives but the last",
)  # fmt: skip
_STEPS = {2: 20, 3: 6}
"""Steps of the grid of weights by number of objectives; for more, weights are drawn."""
_DRAWN, _MARGIN = 40, 0.1
_SMALL = 500
"""Number of steps below which most of the features are cheap."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with ``morl_fronts/``.
        out: Working folder.
        stories: Names of the stories.
        features: Numbers of features of the representation.
        most: Further number of features in shares of the steps, for small problems.
        policies: Numbers of policies of random rewards.
        seeds: Number of draws of the random rewards, and of features where these are not unique.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/new_objectives")
    stories: tuple[str, ...] = ("salt_ledger", "high_water")
    features: tuple[int, ...] = (16, 64, 128)
    most: float = 0.9
    policies: tuple[int, ...] = (8, 32)
    seeds: int = 5
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Measure all problems, and write the results as they come."""
    fronts = read_json(settings.data / "morl_fronts" / "morl_reference_fronts.json")
    rows: list[Row] = []
    for problem in problems(fronts, settings.stories):
        path = settings.out / f"{problem.name}.json"
        if not path.exists():
            say(f"{problem.name}: {len(problem.first) - 2} states, {len(problem.owner)} steps")
            write_json(path, list(measure(problem, settings)))
        rows += read_json(path)
        _write(rows, settings)
    wrote(settings.results / "new_objectives.md", f"{len(rows)} rows")


def measure(problem: Problem, settings: Settings) -> Iterator[Row]:
    """Rows of one problem: way, number, seed, share of the front, and share of the last objective."""
    grid, alone = weightings(problem), np.eye(len(problem.objectives))[-1]
    best, worst = (returns(problem, plan(problem, sign * problem.rewards[:, -1]))[-1] for sign in (1, -1))
    planned = [returns(problem, plan(problem, problem.rewards @ weights)) for weights in grid]
    # A reference front may lack a point.
    front = undominated(np.concatenate([problem.front, np.stack(planned)]))

    def row(way: str, number: int, seed: int, choose: Callable[[FloatArray], Any]) -> Row:
        points = [returns(problem, choose(weights)) for weights in grid]
        last = float((returns(problem, choose(alone))[-1] - worst) / (best - worst))
        return {
            "problem": problem.name, "objectives": len(problem.objectives), "way": way, "number": number,
            "seed": seed, "front": front_share(front, points, problem.front), "last": last,
        }  # fmt: skip

    yield {
        **row(PLANNED, len(grid), 0, lambda weights: plan(problem, problem.rewards @ weights)),
        "reference": front_share(front, list(problem.front), problem.front),
    }
    steps = len(problem.owner)
    numbers = [own for own in settings.features if own < steps]
    numbers += [round(settings.most * steps)] if steps < _SMALL else []
    for seed in range(1, settings.seeds + 1):
        # Equal singular values leave a choice of features, which the seed makes.
        backward = features(problem, max(numbers), seed)
        for number in numbers:
            known = np.stack([seen(own, backward[:, :number]) for own in problem.rewards.T], axis=1)
            found = row(FEATURES, number, seed, lambda weights, known=known: plan(problem, known @ weights))
            yield {
                **found,
                "seen": [_explained(*own) for own in zip(problem.rewards.T, known.T, strict=True)],
            }
    for seed in range(1, settings.seeds + 1):
        rng = np.random.default_rng(seed)
        random = [plan(problem, rng.normal(size=steps)) for _ in range(max(settings.policies))]
        values = [step_values(problem, steps) for steps in random]
        for number in settings.policies:
            own = values[:number]
            yield row(POLICIES, number, seed, lambda weights, own=own: improved(problem, own, weights))
    plans = [plan(problem, problem.rewards @ weights) for weights in weightings(problem, 1)]
    others = [step_values(problem, steps) for steps in plans]
    yield row(OTHERS, len(others), 0, lambda weights: improved(problem, others, weights))


def weightings(problem: Problem, without: int = 0) -> list[FloatArray]:
    """Weightings of all objectives, or of all but the last ones, in units of the front's ranges."""
    whole = len(problem.objectives)
    number = whole - without
    units = problem.front.max(axis=0) - problem.front.min(axis=0)
    if number == 1:
        found = [np.ones(1)]
    elif number in _STEPS:
        names = problem.objectives[:number]
        found = [own.aligned_to(names) for own in pl.simplex_grid(list(names), _STEPS[number])]
    else:
        drawn = np.random.default_rng(0).dirichlet(np.ones(number), size=_DRAWN)
        found = [*np.eye(number), *drawn]
    return [np.concatenate([own, np.zeros(without)]) / units for own in found]


def front_share(front: FloatArray, points: Sequence[FloatArray], known: FloatArray) -> float:
    """Hypervolume in shares of the front's. The reference is a tenth of the range below the known front, in
    which each objective has a range."""
    low, high = known.min(axis=0), known.max(axis=0)
    reference = low - _MARGIN * (high - low)
    return hypervolume(np.stack(points), reference) / hypervolume(front, reference)


def _explained(reward: FloatArray, known: FloatArray) -> float:
    """Share of a reward's square that features see."""
    return float((known**2).sum() / (reward**2).sum())


def _write(rows: list[Row], settings: Settings) -> None:
    cells: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["problem"], row["way"], row["number"]), []).append(row)
    write_json(settings.results / "new_objectives.json", rows)
    lines = [
        "# Objectives invented after training", "", "`python experiments/new_objectives.py --data DIR`", "",
        textwrap.fill(
            "Exact plans and successor measures on tables. Front: hypervolume of the policies for a grid of "
            "weightings, in shares of the hypervolume of the reference front and these plans together. Last "
            "objective: its return under its own weights, 0 is the worst policy and 1 the best. Features: "
            "forward-backward with this number of features of random play's successor measure, and a "
            "perfect policy for the part of each reward that they represent. Policies: generalised policy "
            "improvement over policies of random rewards, or over those planned for weightings of the other "
            f"objectives. {settings.seeds} draws of random rewards, and of features among those with equal "
            "singular values: mean, smallest to largest. Weights are linear, so that concave parts of a "
            "front are out of reach for all.",
            100,
        ), "",
        "| problem | way | number | front | last objective |", "|---|---|---:|---:|---:|",
    ]  # fmt: skip
    lines += [
        f"| {name} | {way} | {number} | {_range(own, 'front')} | {_range(own, 'last')} |"
        for (name, way, number), own in cells.items()
    ]
    write_page(settings.results / "new_objectives.md", lines)


def _range(rows: Sequence[Row], key: str) -> str:
    values = [row[key] for row in rows]
    ends = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{ends}"


if __name__ == "__main__":
    run(tyro.cli(Settings))
