"""Outcomes of a finished sweep, and the dial that they calibrate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.files import read_json, require_free
from pluralign.core.jsonl import Fields, is_list, is_object
from pluralign.core.pareto import hypervolume
from pluralign.evaluate.pictures.dials import draw_dial
from pluralign.evaluate.sweeps.fronts import reference_below
from pluralign.steer.kriging import Link
from pluralign.steer.suggest import DIAL, load_dial, save_dial
from pluralign.steer.surrogate import Surrogate, fit_surrogate

REPORT = "report.json"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Evaluated weightings of a sweep's side.

    Args:
        objectives: Objectives, in the order of the columns.
        weightings: Weightings.
        values: Mean returns or rewards, shape (weightings, objectives).
        kind: ``returns`` or ``rewards``.
        side: Name of the side; "" on stories.
    """

    objectives: tuple[str, ...]
    weightings: tuple[SteeringWeights, ...]
    values: FloatArray
    kind: str
    side: str


def read_outcomes(sweep: str | Path, side: str | None = None) -> Outcomes:
    """Read the outcomes in a sweep's report.

    Args:
        sweep: Folder of the sweep, or its report.json.
        side: Name of a side of a sweep over prompts, for instance "rewarded soups"; by default the first.

    Raises:
        InputError: There is no report of a sweep, or it has no such side; the error names the file.
    """
    path = Path(sweep) / REPORT if Path(sweep).is_dir() else Path(sweep)
    row = read_json(path)
    if not is_object(row) or row.get("pluralign") not in ("text_sweep", "report"):
        raise InputError("expected the report.json of a sweep", path=path)
    report = Fields(row, path, 1)
    names = tuple(report.texts("objectives"))
    if row["pluralign"] == "report":
        if side is not None:
            raise InputError("the sweep of a story has no sides", path=path, field="side")
        return _outcomes(names, report.get("sweep", list), "returns", "", path)
    sides = {one["label"]: one for one in report.get("sides", list) if is_object(one) and "label" in one}
    label = next(iter(sides), "") if side is None else side
    if label not in sides:
        raise InputError(
            f"expected one of {', '.join(map(repr, sides))}, found {label!r}", path=path, field="side"
        )
    points = sides[label].get("points")
    return _outcomes(names, points if is_list(points) else [], "rewards", label, path)


@checked
def calibrate_dial(sweep: str | Path, *, side: str | None = None, link: Link = "identity") -> Surrogate:
    """Fit a surrogate to a finished sweep, from which `steer.suggest.Calibrated` suggests weights.

    Args:
        sweep: Folder of the sweep, or its report.json.
        side: Name of a side of a sweep over prompts; by default the first.
        link: Function that is applied to the quadratic forms.

    Raises:
        InputError: There is no report of a sweep, or too few weightings.

    Examples:
        >>> import json, pathlib
        >>> import pluralign as pl
        >>> points = [(0.0, -9.0, 4.0), (0.5, -1.0, 3.0), (1.0, 0.0, 0.0)]  # weight of calm, and returns
        >>> rows = [
        ...     {"weights": {"calm": w, "fun": 1 - w}, "returns": {"calm": calm, "fun": fun}}
        ...     for w, calm, fun in points
        ... ]
        >>> report = {"pluralign": "report", "objectives": ["calm", "fun"], "sweep": rows}
        >>> _ = pathlib.Path("report.json").write_text(json.dumps(report))
        >>> dial = pl.calibrate_dial("report.json")
        >>> dial.weights_for(pl.SteeringWeights(calm=0.75, fun=0.25)).to_text()
        'calm=0.6764,fun=0.3236'
    """
    found = read_outcomes(sweep, side)
    return fit_surrogate(found.weightings, found.values, objectives=found.objectives, link=link)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Outcomes that a dial predicted, and those that were found.

    Args:
        objectives: Objectives, in the order of the columns.
        weightings: Weightings.
        predicted: Predicted outcomes, shape (weightings, objectives).
        found: Evaluated outcomes, of the same shape.
        optimism: Hypervolume of the predicted outcomes minus that of the evaluated ones, in shares of the
            latter; above 0 where predictions promised too much. None where there is no volume.
    """

    objectives: tuple[str, ...]
    weightings: tuple[SteeringWeights, ...]
    predicted: FloatArray
    found: FloatArray
    optimism: float | None


@checked
def predictions(dial: str | Path, sweep: str | Path, *, side: str | None = None) -> Predictions:
    """Compare what a dial predicts for the weightings of a sweep with what the sweep found.

    Args:
        dial: Folder of the dial.
        sweep: Folder of the sweep, or its report.json; of other weightings than those that the dial was
            fitted to, such as its own proposals (``sweep(..., dial=...)``).
        side: Name of a side of a sweep over prompts; by default the first.

    Raises:
        InputError: There is no dial or no report of a sweep, or they have different objectives.

    Examples:
        >>> import pluralign as pl
        >>> policies = {"score": "random", "harm_avoidance": "random"}
        >>> swept = pl.sweep_story(policies, "salt_ledger", steps=2, episodes=4, folder="swept")
        >>> dial = make_dial(swept.save("swept"), "dial")
        >>> found = pl.predictions("dial", "swept")
        >>> bool(abs(found.predicted - found.found).max() < 1e-6)
        True
    """
    known, outcomes = load_dial(dial), read_outcomes(sweep, side)
    if set(known.objectives) != set(outcomes.objectives):
        raise InputError(
            f"is for {', '.join(known.objectives)}; the sweep is for {', '.join(outcomes.objectives)}",
            field="dial",
        )
    order = [known.objectives.index(name) for name in outcomes.objectives]
    promised = known.predict([w.aligned_to(known.objectives) for w in outcomes.weightings])[:, order]
    corner = reference_below(np.concatenate([known.outcomes[:, order], outcomes.values]))
    volume = hypervolume(outcomes.values, corner)
    optimism = hypervolume(promised, corner) / volume - 1.0 if volume > 0 else None
    return Predictions(outcomes.objectives, outcomes.weightings, promised, outcomes.values, optimism)


def make_dial(
    sweep: str | Path, out: str | Path, *, side: str | None = None, link: Link = "identity"
) -> Surrogate:
    """Fit a surrogate to a finished sweep, and write the dial and its picture.

    Args:
        sweep: See `calibrate_dial`.
        out: Folder for dial.json and dial.svg; it is empty, or has a dial.
        side: See `calibrate_dial`.
        link: See `calibrate_dial`.

    Raises:
        InputError: See `calibrate_dial`; or the folder has other files.
    """
    folder = Path(out)
    if not (folder / DIAL).exists():
        require_free(folder)
    found = calibrate_dial(sweep, side=side, link=link)
    save_dial(found, folder, {"sweep": str(sweep), "side": side})
    draw_dial(found, folder / "dial.svg")
    return found


def _outcomes(names: tuple[str, ...], points: list[Any], kind: str, side: str, path: Path) -> Outcomes:
    weightings: list[SteeringWeights] = []
    values: list[list[float]] = []
    for number, point in enumerate(points, start=1):
        fields = Fields(point if is_object(point) else {}, path, number)
        # Policies that were trained for one weighting may have none for the others.
        weightings.append(SteeringWeights({name: fields.numbers("weights").get(name, 0.0) for name in names}))
        own = fields.numbers(kind)
        if missing := [name for name in names if name not in own]:
            raise fields.fail(kind, f"has no {missing[0]!r}")
        values.append([own[name] for name in names])
    return Outcomes(names, tuple(weightings), np.array(values).reshape(-1, len(names)), kind, side)
