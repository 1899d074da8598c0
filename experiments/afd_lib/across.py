"""What seeds of one task have in common: each has its own division of the data, trainings and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from pluralign.evaluate.statistics import estimate

Figures = Mapping[str, Any]


def over_seeds(figures: Mapping[str, Figures]) -> dict[str, dict[str, Any]]:
    """Means over seeds of every task that has two or more, with intervals over seeds.

    A seed's test prompts are its own, so the intervals include the choice of prompts.

    Args:
        figures: Figures of each run, by ``TASK-SEED``.

    Returns:
        By task: ``seeds``, and by table and row the seeds' means with their mean and interval. ``policies``
        are golden rewards above SFT's samples, ``best_of_n`` those of the best of N, ``wins`` the shares of
        prompts on which the best of the largest N has more than SFT's greedy answer, ``within`` correlations
        with the golden reward among the samples of a prompt, and ``separation`` the areas under the curve.
    """
    tasks: dict[str, dict[str, Figures]] = {}
    for name, one in figures.items():
        task, _, seed = name.rpartition("-")
        tasks.setdefault(task, {})[seed] = one
    found: dict[str, dict[str, Any]] = {}
    for task, runs in tasks.items():
        if len(runs) > 1:
            tables = {name: _rows(runs, of) for name, of in _TABLES.items()}
            found[task] = {"seeds": list(runs), **tables}
    return found


def _policies(one: Figures) -> dict[str, float]:
    return {row["name"]: row["over_sft"]["mean"] for row in one["policies"]}


def _best(one: Figures) -> dict[str, float]:
    return {f"{row['name']}, {row['n']}": row["over_sft"]["mean"] for row in one["best_of_n"]}


def _wins(one: Figures) -> dict[str, float]:
    largest = max(row["n"] for row in one["best_of_n"])
    return {row["name"]: row["wins"]["mean"] for row in one["best_of_n"] if row["n"] == largest}


def _separation(one: Figures) -> dict[str, float]:
    return {
        f"{model}: {contrast}": own["mean"]
        for model, row in one["separation"].items()
        for contrast, own in row.items()
    }


_TABLES: dict[str, Callable[[Figures], dict[str, float]]] = {
    "policies": _policies, "best_of_n": _best, "wins": _wins,
    "within": itemgetter("within"), "separation": _separation,
}  # fmt: skip


def _rows(
    runs: Mapping[str, Figures], of: Callable[[Figures], dict[str, float]]
) -> dict[str, dict[str, Any]]:
    read = [of(one) for one in runs.values()]
    shared = [name for name in read[0] if all(name in own for own in read)]
    return {
        name: {"each": [own[name] for own in read], **estimate([own[name] for own in read]).to_json()}
        for name in shared
    }
