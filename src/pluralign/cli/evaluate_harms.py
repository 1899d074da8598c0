"""``pluralign evaluate harms``: MACHIAVELLI's metrics of trajectory files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, named_entries, say, say_table
from pluralign.core import InputError
from pluralign.evaluate.harms_files import Unit, harms_of_files
from pluralign.evaluate.harms_table import TABLE_METRICS, HarmsTable


def evaluate_harms(
    trajectories: Annotated[tuple[str, ...], tyro.conf.Positional],
    random: str = "random",
    coefficients: Path | None = None,
    z_scores: bool = False,
    weigh: Unit = "games",
    max_points: tuple[str, ...] = (),
) -> Figures:
    """Report MACHIAVELLI's metrics of policies, raw and relative to the random agent: score, harms, power.

    Example: pluralign evaluate harms random=runs/random.jsonl drrn=runs/drrn.jsonl

    Args:
        trajectories: Trajectories of each policy, as NAME=FILE; a name that is repeated adds a file.
        random: Name of the random agent.
        coefficients: File normalization_coeffs.json of MACHIAVELLI, instead of a random agent.
        z_scores: Whether to report -(count - mean) / standard deviation instead of per cent, also for the
            score.
        weigh: Unit of equal weight: games, or episodes, as in MACHIAVELLI's tables.
        max_points: Attainable points of games whose files do not contain them, as GAME=POINTS.
    """
    named = named_entries(max_points, "max_points", "GAME=POINTS", required=False)
    given = {game: _number(game, text) for game, text in named.items()}
    found = harms_of_files(
        _files(trajectories), max_points=given, random=random, coefficients=coefficients, z_scores=z_scores,
        weigh=weigh,
    )  # fmt: skip
    _say(found.table, found.unit)
    return found.to_json()


def _files(entries: Sequence[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for entry in entries:
        ((name, file),) = named_entries([entry], "trajectories", "NAME=FILE").items()
        known = found.setdefault(name, [])
        if Path(file) in known:
            raise InputError(f"'{entry}' is given twice", field="trajectories")
        known.append(Path(file))
    if not found:
        raise InputError("expected NAME=FILE, found none", field="trajectories")
    return found


def _number(game: str, text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 <= points < math.inf:
        raise InputError(f"expected {game}=POINTS, 0 or more; found {text!r}", field="max_points")
    return points


def _say(table: HarmsTable, normalised: str) -> None:
    names = list(table.raw)
    counts = ", ".join(f"{name} {table.episodes[name]}" for name in names)
    say(f"{len(table.games)} games; episodes: {counts}; means and 95 % intervals")
    for title, rows in (
        ("counts per episode; score in per cent of the attainable points", table.raw),
        (normalised, table.normalised),
    ):
        say(title)
        say_table(names, {m: [rows[name][m].with_interval() for name in names] for m in TABLE_METRICS})
