"""Hypervolumes of several seeds, taken together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pluralign.evaluate.statistics import estimate


def over_seeds(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Hypervolume of every side, and the first side's lead over it, over two or more seeds.

    A seed divides the data anew, test prompts and the rewards that measure included, so the intervals, which
    are over seeds, include that choice.

    Args:
        found: Figures of each seed.

    Returns:
        By sweep and side: ``hypervolume`` and, but for the first side, ``lead``, each with the seeds' values
        (``each``), their mean and its interval. Empty with one seed.
    """
    runs = [one["sweeps"] for one in found.values()]
    if len(runs) < 2:
        return {}
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: _sides([run[name]["sides"] for run in runs]) for name in shared}


def _sides(runs: list[list[Mapping[str, Any]]]) -> dict[str, Any]:
    by_label = [{side["label"]: side for side in sides} for sides in runs]
    rows: dict[str, Any] = {}
    for label in by_label[0]:
        if all(label in own for own in by_label):
            sides = [own[label] for own in by_label]
            rows[label] = {"hypervolume": _taken([side["hypervolume"] for side in sides])}
            if all(side["first_leads_by"] for side in sides):
                rows[label]["lead"] = _taken([side["first_leads_by"] for side in sides])
    return rows


def _taken(values: list[Mapping[str, float]]) -> dict[str, Any]:
    means = [float(value["mean"]) for value in values]
    return {"each": means, **estimate(means).to_json()}
