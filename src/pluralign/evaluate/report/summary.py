"""Summary of played episodes and sweeps on a story: the figures of its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.pareto import reference_point
from pluralign.evaluate.harms_table import harms_table
from pluralign.evaluate.hypervolume import estimate_hypervolume_ratio
from pluralign.evaluate.play import summarise
from pluralign.evaluate.rank_correlation import spearman
from pluralign.evaluate.report.model import Kind, Report, WeightPoint
from pluralign.evaluate.sweeps.stories import SweepPoint
from pluralign.games.exact_front import ExactFront, exact_front
from pluralign.games.game import Game
from pluralign.games.state_graph import StateGraph, explore
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC

MEANS = {ARITHMETIC: "arithmetic mean", GEOMETRIC: "geometric mean", HARMONIC: "harmonic mean"}


def mean_name(power: float) -> str:
    """Name of the mixture with this power."""
    return MEANS.get(power, f"power mean, p = {power:g}")


def versions() -> dict[str, str]:
    """Versions of the software that a report's figures depend on."""
    return {name: version(name) for name in ("pluralign", "torch", "transformers", "numpy")}


def walk(game: Game, say: Callable[[str], None]) -> StateGraph | None:
    """All states of a game; None, after reporting the reason, if they cannot be explored."""
    try:
        graph = explore(game)
        # Computed here because it fails if play can go on forever.
        _ = graph.backwards
    except InputError as error:
        say(f"no exact front: {error}")
        return None
    return graph


def make_report(
    game: Game,
    objectives: Sequence[Objective],
    *,
    played: Mapping[str, Sequence[Trajectory]],
    kinds: Mapping[str, Kind],
    sweeps: Mapping[float, Sequence[SweepPoint]],
    seconds: float,
    seed: int,
    say: Callable[[str], None] = print,
    **more: Any,
) -> Report:
    """Summarise a run.

    Args:
        game: Game; its exact front is included if its states can be explored.
        objectives: Two or more objectives.
        played: Episodes by policy; metrics are normalised by those of ``random``.
        kinds: Origin of each policy.
        sweeps: Points by power of the mixture; the first sweep is the main one, the others are drawn next to
            it.
        seconds: Duration of the run.
        seed: Random seed of the run.
        say: Function that reports why there is no exact front.
        more: Further fields of `Report`.
    """
    names = [o.name for o in objectives]
    info = game.info
    graph = walk(game, say)
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
        versions=versions(),
        **more,
    )
    followed = [p.metrics["violations"].mean if report.has_violations else p.returns[names[1]] for p in main]
    weights = [point.weights[names[1]] for point in main]
    return replace(report, spearman=spearman(np.array(weights), np.array(followed)))


def _against_front(
    front: ExactFront | None, names: Sequence[str], sweeps: Mapping[float, Sequence[SweepPoint]]
) -> dict[str, Any]:
    """Fields of `Report` that compare sweeps with the attainable returns."""
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
    return {
        "other_ratios": {mean_name(power): r.mean for power, r in ratios.items() if power != main_power},
        "exact_front": tuple(dict(zip(names, map(float, point), strict=True)) for point in front.points),
        "worst": dict(zip(names, map(float, front.worst), strict=True)),
        "best": dict(zip(names, map(float, front.best), strict=True)),
        "hypervolume_ratio": ratios[main_power].mean,
        "hypervolume_interval": (ratios[main_power].low, ratios[main_power].high),
        "optimum_share": {
            name: (point.returns[name] - float(low)) / float(high - low)
            for name, low, high in zip(names, front.worst, front.best, strict=True)
            for point in main
            if high > low and point.weights.get(name, 0.0) > 1 - 1e-9
        },
    }
