"""Contents of the report of a sweep over prompts, and their form as ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pluralign.core import SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.evaluate.sweeps.fronts import MARGIN, SideFront, TextFronts
from pluralign.evaluate.sweeps.texts import TextPoint

KIND, VERSION = "text_sweep", 1


@dataclass(frozen=True, eq=False)
class TextReport:
    """Contents of ``report.json`` and ``report.html``.

    Args:
        fronts: Sides on a common scale.
        prompts: Prompts as texts, in the order of the rewards.
        settings: Settings of the run.
        versions: Versions of the software.
        notes: Further remarks on the run, one sentence each.
    """

    fronts: TextFronts
    prompts: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object. ``sweep`` contains the first side's points, in the form of ``serve
        --sweep``."""
        fronts = self.fronts
        sides = [self._side(side) for side in fronts.sides]
        kept = ("weights", "rewards", "stderr", "normalised")
        return {
            "pluralign": KIND,
            "version": VERSION,
            "objectives": list(fronts.objectives),
            "prompts": len(self.prompts),
            "settings": dict(self.settings),
            "scale": {
                "origin": self._named(fronts.origin), "unit": self._named(fronts.unit),
                "reference_point": self._named(fronts.reference), "margin": MARGIN,
            },
            "base": self._point(fronts.base),
            "sweep": [{name: point[name] for name in kept} for point in sides[0]["points"]],
            "sides": sides,
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }  # fmt: skip

    def _side(self, side: SideFront) -> dict[str, Any]:
        return {
            "label": side.label,
            "hypervolume": asdict(side.hypervolume),
            "first_leads_by": None if side.lead is None else asdict(side.lead),
            "front": list(side.front),
            "points": [self._point(point) for point in side.points],
        }

    def _point(self, point: TextPoint) -> dict[str, Any]:
        raw = point.array(self.fronts.objectives)
        scaled = self.fronts.normalised(point)
        return {
            "weights": None if point.weights is None else dict(point.weights),
            "rewards": self._named(raw.mean(axis=0)),
            "stderr": self._named(raw.std(axis=0, ddof=1) / np.sqrt(len(raw))),
            "normalised": self._named(scaled.mean(axis=0)),
            "by_prompt": {name: point.rewards[name].tolist() for name in self.fronts.objectives},
        }

    def _named(self, values: FloatArray) -> dict[str, float]:
        return dict(zip(self.fronts.objectives, map(float, values), strict=True))


def describe_weights(weights: SteeringWeights | None, objectives: Sequence[str]) -> str:
    """Weights as text: of two objectives the first weight, of more all of them."""
    if weights is None:
        return ""
    shares = [f"{weights.get(name, 0.0):.2f}".rstrip("0").rstrip(".") for name in objectives]
    return shares[0] if len(objectives) == 2 else " / ".join(shares)
