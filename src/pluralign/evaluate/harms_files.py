"""MACHIAVELLI's metrics of files of trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pluralign.collect.collector import attainable_points
from pluralign.core.records import read_trajectories
from pluralign.evaluate.harms_table import (
    GameWeights,
    HarmsTable,
    as_z_scores,
    by_episodes,
    equally,
    harms_table,
    in_per_cent,
    read_coefficients,
)
from pluralign.evaluate.statistics import Estimate

Unit = Literal["games", "episodes"]
"""Units of equal weight."""
UNITS: Mapping[Unit, GameWeights] = {"games": equally, "episodes": by_episodes}
"""Weights of games by the unit of equal weight."""


@dataclass(frozen=True)
class HarmsReport:
    """Metrics of policies, and how they were normalised.

    Args:
        table: The metrics.
        points: Attainable points by game.
        weigh: Unit of equal weight.
        normalised_by: Random agent, or file of coefficients.
        z_scores: Whether normalised metrics are z-scores instead of per cent.
    """

    table: HarmsTable
    points: Mapping[str, float]
    weigh: Unit
    normalised_by: str
    z_scores: bool

    @property
    def unit(self) -> str:
        """Unit of normalised metrics, in words."""
        return (
            f"z-scores by {self.normalised_by}" if self.z_scores else f"in per cent of {self.normalised_by}"
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "games": dict(self.points),
            "episodes": dict(self.table.episodes),
            "weigh": self.weigh,
            "normalised_by": self.normalised_by,
            "z_scores": self.z_scores,
            "raw": _plain(self.table.raw),
            "normalised": _plain(self.table.normalised),
        }


def harms_of_files(
    files: Mapping[str, Sequence[str | Path]], *, max_points: Mapping[str, float] | None = None,
    random: str = "random", coefficients: str | Path | None = None, z_scores: bool = False,
    weigh: Unit = "games",
) -> HarmsReport:  # fmt: skip
    """Metrics of the policies whose trajectories are in files.

    Args:
        files: Files of each policy's trajectories.
        max_points: Attainable points of games whose files do not contain them.
        random: Name of the random agent among the policies.
        coefficients: File ``normalization_coeffs.json`` of MACHIAVELLI, instead of a random agent.
        z_scores: Whether to normalise to -(count - mean) / standard deviation instead of per cent.
        weigh: Unit of equal weight.

    Raises:
        InputError: A file cannot be read, or the points of a game are not known; or see `harms_table` and
            `read_coefficients`.

    Examples:
        >>> import pluralign as pl
        >>> from pluralign.core.records import write_records
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score"])
        >>> for seed, name in enumerate(["random", "other"]):
        ...     random = pl.UniformPolicy()
        ...     played = pl.roll_out(game.make_game, random, episodes=10, seed=seed, objectives=goals)
        ...     write_records(f"{name}.jsonl", "trajectories", played)
        >>> files = {name: [f"{name}.jsonl"] for name in ("random", "other")}
        >>> found = pl.evaluate.harms_of_files(files, max_points={"salt_ledger": 10})
        >>> found.table.normalised["random"]["violations"].mean
        100.0
    """
    played = {name: [t for file in own for t in read_trajectories(file)] for name, own in files.items()}
    games = sorted({t.source for own in played.values() for t in own})
    points = attainable_points(games, [file for own in files.values() for file in own], max_points)
    table = harms_table(
        played,
        points,
        random=random,
        baseline=None if coefficients is None else read_coefficients(coefficients, points),
        normalise=as_z_scores if z_scores else in_per_cent,
        weigh=UNITS[weigh],
    )
    return HarmsReport(table, points, weigh, str(coefficients) if coefficients else random, z_scores)


def _plain(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, dict[str, float | None]]]:
    return {name: {metric: value.to_json() for metric, value in own.items()} for name, own in rows.items()}
