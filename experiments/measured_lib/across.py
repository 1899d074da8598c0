"""One sweep over several training seeds: hypervolumes, dials and fluency, with intervals.

Test prompts are the same for all seeds. A resample draws seeds and prompts, both with replacement, so that an
interval has the spread of both; with three seeds it is rather too short, so each seed's value is given, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pluralign.core.arrays import FloatArray
from pluralign.core.pareto import hypervolume
from pluralign.evaluate.rank_correlation import spearman
from pluralign.evaluate.statistics import CONFIDENCE, Estimate, of_resamples, resampling_weights
from pluralign.evaluate.sweeps.fronts import reference_below

STEERED, BASE = "steered (geometric mean)", "base"
Instrument = Literal["first", "second"]
RESAMPLES = 500


@dataclass(frozen=True)
class Lead:
    """Hypervolume of a side, and how much more the steered policies have.

    Args:
        side: Name.
        points: Number of weightings.
        volume: Mean over seeds.
        volumes: Hypervolume of each seed.
        lead: Hypervolume of the steered policies minus this one's; None for themselves.
        equal_lead: The same with this side's weightings only, where it has fewer.
    """

    side: str
    points: int
    volume: Estimate
    volumes: list[float]
    lead: Estimate | None
    equal_lead: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        told = {name: None if one is None else one.to_json() for name, one in self._estimates()}
        return {"side": self.side, "points": self.points, "volumes": self.volumes, **told}

    def _estimates(self) -> list[tuple[str, Estimate | None]]:
        return [("volume", self.volume), ("lead", self.lead), ("equal_lead", self.equal_lead)]


@dataclass(frozen=True)
class Side:
    """Measures of a side's answers.

    Args:
        weights: Weights of each point, shape (points, objectives); None for the base model.
        measured: Measures by instrument, in the base model's units, shape (seeds, points, prompts,
            objectives).
        surprisal: Nats per token, shape (seeds, points, prompts).
        repetition: Share of repeated trigrams, shape (seeds, points, prompts).
    """

    weights: FloatArray | None
    measured: Mapping[Instrument, FloatArray]
    surprisal: FloatArray
    repetition: FloatArray


class Across:
    """Sides of one sweep over all seeds.

    Args:
        objectives: Names.
        sides: Sides by name, the base model among them.
    """

    def __init__(self, objectives: Sequence[str], sides: Mapping[str, Side]) -> None:
        self.objectives, self._sides = tuple(objectives), sides
        own = sides[STEERED].measured["first"]
        self.seeds, self.prompts = own.shape[0], own.shape[2]
        self._draws = _resamples(self.seeds, self.prompts)

    def leads(self, instrument: Instrument) -> list[Lead]:
        """Hypervolumes of all sides above a common reference point, and leads of the steered policies."""
        values = {label: side.measured[instrument] for label, side in self._sides.items()}
        everything = np.concatenate(
            [one.mean(axis=2).reshape(-1, len(self.objectives)) for one in values.values()]
        )
        corner = reference_below(everything)
        steered = self._volumes(values[STEERED], corner)
        found: list[Lead] = []
        for label, own in values.items():
            if label == BASE:
                continue
            each, resampled = steered if label == STEERED else self._volumes(own, corner)
            lead = equal = None
            if label != STEERED:
                lead = self._estimate(steered[0] - each, steered[1] - resampled)
                if own.shape[1] < values[STEERED].shape[1]:
                    alike = self._volumes(values[STEERED][:, self._same(label)], corner)
                    equal = self._estimate(alike[0] - each, alike[1] - resampled)
            volume = self._estimate(each, resampled)
            found.append(Lead(label, own.shape[1], volume, each.tolist(), lead, equal))
        return found

    def dials(self) -> dict[str, dict[str, dict[str, Any]]]:
        """For each side with weights and each objective: rank correlations of weight and mean measure, and
        the change of the measure from no weight (the mean over such weightings) to all of it."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for label, side in self._sides.items():
            if side.weights is None or len(side.weights) < 4:
                continue
            found[label] = {}
            for i, name in enumerate(self.objectives):
                weights, row = side.weights[:, i], dict[str, Any]()
                for instrument in ("first", "second"):
                    values = side.measured[instrument][..., i]
                    row[instrument] = [_rank(weights, one.mean(axis=1)) for one in values]
                    gap = values[:, weights == 1].mean(axis=1) - values[:, weights == 0].mean(axis=1)
                    row[f"change_{instrument}"] = self._mean(gap).to_json()
                found[label][name] = row
        return found

    def fluency(self) -> dict[str, dict[str, Any]]:
        """For each side: surprisal divided by the base model's own (mean over weightings, and the largest),
        and repetition."""
        base = self._sides[BASE]
        found: dict[str, dict[str, Any]] = {}
        for label, side in self._sides.items():
            if label == BASE:
                continue
            shares = side.surprisal.mean(axis=2) / base.surprisal.mean(axis=2)
            # The base model read the answers to the first prompts only.
            resampled = [
                (side.surprisal[seeds] @ weights).mean() / (base.surprisal[seeds] @ weights).mean()
                for seeds, weights in _resamples(self.seeds, side.surprisal.shape[2])
            ]
            mean = of_resamples(float(shares.mean()), np.array(resampled), CONFIDENCE)
            found[label] = {
                "mean": mean.to_json(),
                "largest": float(shares.mean(axis=0).max()),
                "repetition": float(side.repetition.mean()),
                "base_repetition": float(base.repetition.mean()),
            }
        return found

    def along(self, label: str = STEERED) -> list[dict[str, Any]]:
        """For each weighting of a side: mean measures by both instruments, and surprisal divided by the base
        model's own, with ranges over seeds."""
        side, base = self._sides[label], self._sides[BASE]
        assert side.weights is not None
        shares = side.surprisal.mean(axis=2) / base.surprisal.mean(axis=2)
        return [
            {
                "weights": dict(zip(self.objectives, weights.tolist(), strict=True)),
                **{
                    name: side.measured[name][:, i].mean(axis=(0, 1)).tolist() for name in ("first", "second")
                },
                "surprisal": shares[:, i].tolist(),
            }
            for i, weights in enumerate(side.weights)
        ]

    def means(self) -> Iterator[tuple[str, dict[str, float] | None, FloatArray]]:
        """Side, weights and mean measures over seeds, shape (prompts, objectives), of each point; first
        instruments."""
        for label, side in self._sides.items():
            for number, values in enumerate(side.measured["first"].mean(axis=0)):
                row = None if side.weights is None else side.weights[number].tolist()
                yield label, None if row is None else dict(zip(self.objectives, row, strict=True)), values

    def to_json(self) -> dict[str, Any]:
        """All figures as a JSON object, with the mean measures of every point."""
        return {
            "objectives": list(self.objectives), "seeds": self.seeds, "prompts": self.prompts,
            "hypervolumes": {
                name: [row.to_json() for row in self.leads(name)] for name in ("first", "second")
            },
            "dials": self.dials(), "fluency": self.fluency(), "along": self.along(),
            "points": [
                {
                    "side": label, "weights": None if side.weights is None else side.weights[i].tolist(),
                    **{name: side.measured[name][:, i].mean(axis=1).tolist() for name in ("first", "second")},
                }
                for label, side in self._sides.items()
                for i in range(side.surprisal.shape[1])
            ],
        }  # fmt: skip

    def _same(self, label: str) -> list[int]:
        """Numbers of the steered points that have this side's weights."""
        steered, own = self._sides[STEERED].weights, self._sides[label].weights
        assert steered is not None
        assert own is not None
        return [int(np.abs(steered - row).sum(axis=1).argmin()) for row in own]

    def _volumes(self, values: FloatArray, corner: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Hypervolume of each seed, and its mean over seeds in each resample."""
        each = np.array([hypervolume(one.mean(axis=1), corner) for one in values])
        resampled = []
        for seeds, weights in self._draws:
            means = np.einsum("n,spno->spo", weights, values)
            volumes = {s: hypervolume(means[s], corner) for s in set(seeds.tolist())}
            resampled.append(np.mean([volumes[s] for s in seeds.tolist()]))
        return each, np.array(resampled)

    def _mean(self, values: FloatArray) -> Estimate:
        """Estimate of the mean of values of shape (seeds, prompts)."""
        resampled = np.array([(values[seeds] @ weights).mean() for seeds, weights in self._draws])
        return of_resamples(float(values.mean()), resampled, CONFIDENCE)

    def _estimate(self, each: FloatArray, resampled: FloatArray) -> Estimate:
        return of_resamples(float(each.mean()), resampled, CONFIDENCE)


def of_seeds(runs: Mapping[str, Mapping[str, Any]]) -> Across:
    """One sweep of several seeds in the units of the base model's answers.

    Args:
        runs: Outcomes by seed; all have the same points.
    """
    first = next(iter(runs.values()))
    names: list[str] = first["objectives"]
    labels = list(dict.fromkeys(point["side"] for point in first["points"]))
    points = {label: [_of(run, label) for run in runs.values()] for label in labels}
    raw = {
        (label, instrument): np.array(
            [[np.stack([p[instrument][n] for n in names], axis=-1) for p in own] for own in points[label]]
        )
        for label in labels
        for instrument in ("first", "second")
    }
    sides: dict[str, Side] = {}
    for label in labels:
        measured: dict[Instrument, FloatArray] = {}
        for instrument in ("first", "second"):
            base = raw[BASE, instrument].reshape(-1, len(names))
            spread = base.std(axis=0, ddof=1)
            measured[instrument] = (raw[label, instrument] - base.mean(axis=0)) / np.where(
                spread > 0, spread, 1.0
            )
        own = points[label]
        weights = [point["weights"] for point in own[0]]
        sides[label] = Side(
            None if weights[0] is None else np.array([[row[name] for name in names] for row in weights]),
            measured,
            np.array([[p["surprisal"] for p in one] for one in own]),
            np.array([[p["repetition"] for p in one] for one in own]),
        )
    return Across(names, sides)


def _resamples(seeds: int, prompts: int) -> list[tuple[npt.NDArray[np.int64], FloatArray]]:
    """Seeds, and weights of the prompts, of each resample."""
    rng = np.random.default_rng(0)
    weights = resampling_weights(prompts, RESAMPLES, rng)
    return [(rng.integers(seeds, size=seeds), own) for own in weights]


def _of(run: Mapping[str, Any], label: str) -> list[Any]:
    return [point for point in run["points"] if point["side"] == label]


def _rank(weights: FloatArray, values: FloatArray) -> float:
    return spearman(weights, values).value
