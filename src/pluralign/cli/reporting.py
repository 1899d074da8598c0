"""From played episodes and sweeps to the report's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from pluralign.cli.common import walk
from pluralign.core import Objective, Trajectory
from pluralign.evaluate import (
    SweepPoint,
    estimate_hypervolume_ratio,
    harms_table,
    reference_point,
    spearman,
    summarise,
)
from pluralign.evaluate.report import Kind, Report, WeightPoint
from pluralign.games.exact_front import ExactFront, exact_front
from pluralign.games.game import Game
from pluralign.steer import ARITHMETIC, GEOMETRIC, HARMONIC

MEANS = {ARITHMETIC: "arithmetic mean", GEOMETRIC: "geometric mean", HARMONIC: "harmonic mean"}


def mean_name(power: float) -> str:
    """What the mixture of this power is called."""
    return MEANS.get(power, f"power mean, p = {power:g}")


def make_report(
    game: Game,
    objectives: Sequence[Objective],
    *,
    played: Mapping[str, Sequence[Trajectory]],
    kinds: Mapping[str, Kind],
    sweeps: Mapping[float, Sequence[SweepPoint]],
    seconds: float,
    seed: int,
    **more: Any,
) -> Report:
    """Sum up a run.

    Args:
        game: whose exact front is drawn, where its states can be walked.
        objectives: two or more; the sweep goes from the second to the first.
        played: each policy's episodes, by name; ``random`` is what the others are normalised by.
        kinds: how each policy came about.
        sweeps: by power; the first is the main one, the others are drawn beside it.
        seconds: the run took.
        seed: the run's.
        more: further fields of `Report`.
    """
    names = [o.name for o in objectives]
    info = game.info
    graph = walk(game)
    front = None if graph is None else exact_front(graph, objectives)
    table = harms_table(played, {info.name: info.max_points})
    returns = {
        name: summarise(name, episodes, names, {info.name: info.max_points}).returns
        for name, episodes in played.items()
    }
    main_power, main = next(iter(sweeps.items()))
    report = Report(
        story=info.name,
        title=info.title,
        objectives=tuple(names),
        policies=table.raw,
        normalised=table.normalised,
        kinds=kinds,
        policy_returns=returns,
        sweep=tuple(WeightPoint.of(point) for point in main),
        mixture=mean_name(main_power),
        other_sweeps={
            mean_name(power): tuple(WeightPoint.of(point) for point in points)
            for power, points in sweeps.items()
            if power != main_power
        },
        seconds=seconds,
        seed=seed,
        **_against_front(front, names, sweeps),
        versions={name: version(name) for name in ("pluralign", "torch", "transformers", "numpy")},
        **more,
    )
    followed = [p.metrics["violations"].mean if report.has_violations else p.returns[names[1]] for p in main]
    weights = [point.weights[names[1]] for point in main]
    return replace(report, spearman=spearman(np.array(weights), np.array(followed)))


def _against_front(
    front: ExactFront | None, names: Sequence[str], sweeps: Mapping[float, Sequence[SweepPoint]]
) -> dict[str, Any]:
    """The fields of `Report` that hold sweeps against what is attainable."""
    if front is None:
        unknown: dict[str, Any] = {"exact_front": (), "worst": {}, "best": {}}
        return {**unknown, "hypervolume_ratio": None, "hypervolume_interval": None}
    reference = reference_point(front.worst)
    ratios = {
        power: estimate_hypervolume_ratio(
            [point.returns_array(names) for point in points], front.points, reference
        )
        for power, points in sweeps.items()
    }
    main_power, main = next(iter(sweeps.items()))
    ends = (main[-1], main[0])
    return {
        "other_ratios": {mean_name(power): r.mean for power, r in ratios.items() if power != main_power},
        "exact_front": tuple(dict(zip(names, map(float, point), strict=True)) for point in front.points),
        "worst": dict(zip(names, map(float, front.worst), strict=True)),
        "best": dict(zip(names, map(float, front.best), strict=True)),
        "hypervolume_ratio": ratios[main_power].mean,
        "hypervolume_interval": (ratios[main_power].low, ratios[main_power].high),
        "optimum_share": {
            name: (point.returns[name] - float(low)) / float(high - low)
            for name, point, low, high in zip(names, ends, front.worst, front.best, strict=False)
        },
    }
