"""An imported trajectory, and its encoding in the file of an import in progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pluralign.core import Decision, Trajectory
from pluralign.core.jsonl import Fields, Row
from pluralign.core.record_rows import encode, read_trajectory


@dataclass(frozen=True)
class Imported:
    """A trajectory and its game's maximum of points.

    Args:
        trajectory: Trajectory; ``info["counts"]`` is the source of its counts: ``nodes``, ``sums``, or
            ``lagged`` for those of the original code. ``info["last_step"]`` is what is known of the last
            step's counts: ``whole``, ``points`` or ``nothing``.
        max_points: Points of all achievements.
    """

    trajectory: Trajectory
    max_points: float


def encode_imported(imported: Sequence[Imported]) -> list[Row]:
    """Rows of JSON values, each with the decisions of its own."""
    return [_encoded(one) for one in imported]


def _encoded(one: Imported) -> Row:
    numbers: dict[Decision, int] = {}
    row = encode(one.trajectory, lambda decision: numbers.setdefault(decision, len(numbers)))
    decisions = [[decision.prompt, list(decision.options)] for decision in numbers]
    return {"max_points": one.max_points, "decisions": decisions, "trajectory": row}


def decode_imported(rows: Sequence[Row], path: Path) -> list[Imported]:
    """What `encode_imported` encoded.

    Args:
        rows: Encoded trajectories.
        path: File that they were imported from, for error messages.
    """
    found: list[Imported] = []
    for number, row in enumerate(rows, start=1):
        decisions = {
            index: Decision(prompt, tuple(options))
            for index, (prompt, options) in enumerate(row["decisions"])
        }
        trajectory = read_trajectory(Fields(row["trajectory"], path, number), decisions)
        found.append(Imported(trajectory, row["max_points"]))
    return found
