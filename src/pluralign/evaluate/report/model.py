"""Contents of a report, and their form as ``report.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import read_json
from pluralign.core.jsonl import Fields
from pluralign.evaluate.rank_correlation import Correlation
from pluralign.evaluate.statistics import Estimate
from pluralign.evaluate.sweeps.stories import SweepPoint

Kind = Literal["random", "online", "language_model", "cloned", "learned"]
"""Origin of a policy: no training; RL in the game (DRRN); a language model that is prompted; imitation of the
offline data; or preferences on the offline data, one policy per objective."""

Metrics = Mapping[str, Estimate]
KIND, VERSION = "report", 1


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class WeightPoint:
    """Results of a policy under one weighting.

    Args:
        weights: Weighting.
        returns: Mean return per episode, by objective.
        stderr: Standard error of the mean return, by objective.
        metrics: Metrics by name; ``violations`` is drawn.
        seconds: Training time for this weighting alone; 0 for steered policies.
    """

    weights: SteeringWeights
    returns: Mapping[str, float]
    stderr: Mapping[str, float]
    metrics: Metrics
    seconds: float = 0.0

    @classmethod
    def of(cls, point: SweepPoint, seconds: float = 0.0) -> WeightPoint:
        """Point of a sweep, without its episodes."""
        return cls(point.weights, point.returns, point.stderr, point.metrics, seconds)


@dataclass(frozen=True)
class Report:
    """Contents of ``report.json`` and ``report.html``.

    Args:
        story: Name of the game.
        title: Title of the game.
        objectives: Names of objectives. The first two are the axes of the figure.
        policies: Raw metrics per episode (`harms_table`), by policy in display order.
        normalised: Metrics in per cent of the random agent's, by policy.
        kinds: Origin of each policy, by policy.
        policy_returns: Mean returns, by policy and objective.
        sweep: Results of the steered policy under each weighting, by increasing weight of the first
            objective.
        exact_front: Non-dominated attainable returns, by objective; empty if not known.
        worst: Lowest attainable return by objective, the hypervolume's reference point; empty if not known.
        best: Highest attainable return by objective; empty if not known.
        hypervolume_ratio: Hypervolume of the sweep divided by that of the exact front; None without a front.
        hypervolume_interval: 95 % interval of the ratio; None without a front.
        seconds: Duration of the whole run; 0 if not measured.
        seed: Random seed of the run.
        mixture: Name of the mixture in ``sweep``.
        other_sweeps: Results of the same weightings with other mixtures, by name of the mixture.
        other_ratios: Hypervolume ratios of the other mixtures.
        learning_seconds: Training time of the steered policies together.
        rater_kappa: Agreement (kappa) of the judge with the story's own counts, from -1 to 1; None without a
            judge.
        rater_kappas: Kappa by objective.
        retrained: Results of policies that were trained for one weighting each.
        optimum_share: Mean return of each objective's own policy, scaled between worst (0) and best (1), by
            objective; without those that the sweep gives all of the weight nowhere.
        spearman: Rank correlation over the sweep of the second objective's weight with violations; or, in
            a story without violations, with the second objective's mean return.
        data: Statistics of the offline data.
        settings: Settings of the run.
        versions: Versions of the software.
        notes: Further remarks on the run, one sentence each.
    """

    story: str
    title: str
    objectives: tuple[str, ...]
    policies: Mapping[str, Metrics]
    normalised: Mapping[str, Metrics]
    kinds: Mapping[str, Kind]
    policy_returns: Mapping[str, Metrics]
    sweep: tuple[WeightPoint, ...]
    exact_front: tuple[Mapping[str, float], ...]
    worst: Mapping[str, float]
    best: Mapping[str, float]
    hypervolume_ratio: float | None
    hypervolume_interval: tuple[float, float] | None
    seconds: float
    seed: int
    mixture: str = "power mean"
    other_sweeps: Mapping[str, tuple[WeightPoint, ...]] = field(default_factory=_nothing)
    other_ratios: Mapping[str, float] = field(default_factory=_nothing)
    learning_seconds: float = 0.0
    rater_kappa: float | None = None
    rater_kappas: Mapping[str, float] = field(default_factory=_nothing)
    retrained: tuple[WeightPoint, ...] = ()
    optimum_share: Mapping[str, float] = field(default_factory=_nothing)
    spearman: Correlation | None = None
    data: Mapping[str, Any] = field(default_factory=_nothing)
    settings: Mapping[str, Any] = field(default_factory=_nothing)
    versions: Mapping[str, str] = field(default_factory=_nothing)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.objectives) < 2:
            raise InputError("a report's picture needs two objectives", field="objectives")
        if len(self.sweep) < 2:
            raise InputError("a report needs a sweep of two weightings or more", field="sweep")
        for name in self.policies:
            for part in ("normalised", "kinds", "policy_returns"):
                if name not in getattr(self, part):
                    raise InputError(f"policy '{name}' is missing", field=part)
            if self.kinds[name] not in get_args(Kind):
                raise InputError(f"must be one of {', '.join(get_args(Kind))}", field=f"kinds.{name}")
        others = [point for points in self.other_sweeps.values() for point in points]
        for point in (*self.sweep, *self.retrained, *others):
            missing = [o for o in self.objectives if o not in point.returns or o not in point.stderr]
            if missing or "violations" not in point.metrics:
                raise InputError(
                    f"{point.weights} lacks {missing or 'violations'}", field="sweep or retrained"
                )

    @property
    def has_violations(self) -> bool:
        """Whether any policy committed violations, so that they are worth reporting."""
        points = (*self.sweep, *self.retrained)
        rows = [*self.policies.values(), *(point.metrics for point in points)]
        return any(row["violations"].mean > 0 for row in rows)

    @property
    def ends(self) -> tuple[WeightPoint, WeightPoint]:
        """Points of the sweep with the largest weight on the second and on the first objective."""
        first, second = (
            max(self.sweep, key=lambda point: point.weights.get(name, 0.0)) for name in self.objectives[:2]
        )
        return second, first

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Policies of these kinds, in display order."""
        return [name for name in self.policies if self.kinds[name] in kinds]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        row = asdict(self)
        for part, points in (("sweep", self.sweep), ("retrained", self.retrained)):
            row[part] = _point_rows(points)
        row["other_sweeps"] = {name: _point_rows(points) for name, points in self.other_sweeps.items()}
        return {"pluralign": KIND, "version": VERSION, **row}


def _point_rows(points: Sequence[WeightPoint]) -> list[dict[str, Any]]:
    return [{**asdict(point), "weights": dict(point.weights)} for point in points]


def read_report(path: str | Path) -> Report:
    """Read ``report.json``.

    Raises:
        InputError: The file cannot be read; the error names file and field.
    """
    fields = Fields(read_json(path), Path(path), 1)
    if fields.row.get("pluralign") != KIND or fields.row.get("version") != VERSION:
        raise fields.fail("pluralign", f"expected a {KIND} of version {VERSION}")
    try:
        return _report(fields)
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, InputError) and error.path is not None:
            raise
        raise InputError(f"is no report ({error})", path=path) from error


def _report(fields: Fields) -> Report:
    row, spearman = fields.row, fields.row.get("spearman")
    interval = fields.get("hypervolume_interval", (list, type(None)))
    return Report(
        story=fields.get("story", str),
        title=fields.get("title", str),
        objectives=fields.texts("objectives"),
        policies=_table(fields, "policies"),
        normalised=_table(fields, "normalised"),
        kinds=fields.get("kinds", dict),
        policy_returns=_table(fields, "policy_returns"),
        sweep=_points(row["sweep"]),
        exact_front=tuple(fields.get("exact_front", list)),
        worst=fields.numbers("worst"),
        best=fields.numbers("best"),
        hypervolume_ratio=fields.get("hypervolume_ratio", (int, float, type(None))),
        hypervolume_interval=None if interval is None else _ends(interval),
        seconds=fields.get("seconds", (int, float)),
        seed=fields.get("seed", int),
        mixture=fields.get("mixture", str, "power mean"),
        other_sweeps={name: _points(rows) for name, rows in fields.get("other_sweeps", dict, {}).items()},
        other_ratios=fields.numbers("other_ratios"),
        learning_seconds=fields.get("learning_seconds", (int, float), 0.0),
        rater_kappa=fields.get("rater_kappa", (int, float, type(None)), None),
        rater_kappas=fields.numbers("rater_kappas"),
        retrained=_points(row.get("retrained", [])),
        optimum_share=fields.numbers("optimum_share"),
        spearman=None if spearman is None else Correlation(**spearman),
        data=fields.get("data", dict, {}),
        settings=fields.get("settings", dict, {}),
        versions=fields.get("versions", dict, {}),
        notes=fields.texts("notes") if "notes" in row else (),
    )


def _ends(row: Sequence[float | None]) -> tuple[float, float]:
    """Ends of an interval; null for those of one that is everything."""
    low, high = row
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def _metrics(row: Mapping[str, Mapping[str, float]]) -> Metrics:
    return {name: Estimate.from_json(value) for name, value in row.items()}


def _table(fields: Fields, name: str) -> dict[str, Metrics]:
    return {policy: _metrics(row) for policy, row in fields.get(name, dict).items()}


def _points(rows: Sequence[Mapping[str, Any]]) -> tuple[WeightPoint, ...]:
    return tuple(
        WeightPoint(
            weights=SteeringWeights(row["weights"]),
            returns=row["returns"],
            stderr=row["stderr"],
            metrics=_metrics(row["metrics"]),
            seconds=float(row.get("seconds", 0.0)),
        )
        for row in rows
    )
