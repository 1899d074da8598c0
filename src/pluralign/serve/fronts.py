"""Results of a sweep for the page: one point per weighting, and the exact front if it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import read_json
from pluralign.core.jsonl import Fields, is_object


def read_front(path: Path) -> dict[str, Any]:
    """Read the points of a sweep's ``report.json``.

    Returns:
        ``objectives`` (the first two are the axes of the figure), ``points``, each with ``weights`` and
        ``returns``, ``exact_front``, which is empty if unknown, and ``scale``: the origin and unit of each
        objective's standardised rewards, None if the report has none.

    Raises:
        InputError: The file is not such a report; the error names file and field.
    """
    fields = Fields(read_json(path), Path(path), 1)
    rows = fields.get("sweep" if "sweep" in fields.row else "points", list)
    points = [_point(Fields(row, Path(path), i)) for i, row in enumerate(rows, start=1)]
    if len(points) < 2:
        raise fields.fail("sweep", f"expected at least two points, found {len(points)}")
    objectives = (
        list(fields.texts("objectives")) if "objectives" in fields.row else list(points[0]["weights"])
    )
    if len(objectives) < 2:
        raise fields.fail("objectives", f"expected at least two, found {objectives}")
    exact = [_numbers(fields, "exact_front", row) for row in fields.get("exact_front", list, [])]
    for row in (*(point["returns"] for point in points), *exact):
        if missing := [name for name in objectives if name not in row]:
            raise fields.fail("sweep", f"a point lacks {missing[0]!r}")
    return {
        "objectives": objectives, "points": points, "exact_front": exact, "scale": _scale(fields, objectives),
    }  # fmt: skip


def _scale(fields: Fields, objectives: Sequence[str]) -> dict[str, dict[str, float]] | None:
    given = fields.get("scale", dict, {})
    if "origin" not in given or "unit" not in given:
        return None
    scale = {name: _numbers(fields, "scale", given[name]) for name in ("origin", "unit")}
    for row in scale.values():
        if missing := [name for name in objectives if name not in row]:
            raise fields.fail("scale", f"lacks {missing[0]!r}")
    if min(scale["unit"].values()) <= 0:
        raise fields.fail("scale", f"expected positive units, found {scale['unit']}")
    return scale


def _point(fields: Fields) -> dict[str, Any]:
    name = "returns" if "returns" in fields.row else "rewards"
    try:
        weights = SteeringWeights(fields.numbers("weights"))
    except InputError as error:
        raise InputError(error.message, path=fields.path, row=fields.number, field="weights") from error
    return {"weights": dict(weights), "returns": _numbers(fields, name, fields.get(name, dict))}


def _numbers(fields: Fields, name: str, row: Any) -> dict[str, float]:
    if not is_object(row) or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in row.values()
    ):
        raise fields.fail(name, f"expected numbers by objective, found {row!r:.60}")
    return {str(key): float(value) for key, value in row.items()}


def read_fronts(paths: Sequence[Path], chat: Sequence[str], story: Sequence[str] = ()) -> dict[str, Any]:
    """Read sweeps for the page, by the tab with their objectives: "chat" or "story".

    Args:
        paths: Reports (``report.json``) of sweeps.
        chat: Objectives of the served policies.
        story: Objectives of the story's policies.

    Raises:
        InputError: A report is invalid, has objectives that are not served, or is the second of one tab.
    """
    found: dict[str, Any] = {}
    for path in paths:
        front = read_front(path)
        weighed = {name for point in front["points"] for name in point["weights"]}
        tab = "chat" if weighed <= set(chat) else "story" if weighed <= set(story) else None
        if tab is None:
            raise InputError(
                f"weighs {', '.join(sorted(weighed))}; served are {', '.join((*chat, *story))}", path=path
            )
        if tab in found:
            raise InputError(
                f"is a second sweep of the objectives of the {tab}; the page shows one", path=path
            )
        found[tab] = front
    return found
