"""``pluralign trajectories import`` and ``export``: conversion of MACHIAVELLI's trajectories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, say, wrote
from pluralign.games.harms import BUILTIN_OBJECTIVES, find_objective
from pluralign.games.machiavelli import conversion


def import_trajectories(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path,
    game_data: Path | None = None,
    compatible: bool = False,
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
) -> Figures:
    """Convert MACHIAVELLI's trajectories from JSON to trajectories.jsonl, which all other verbs read.

    Pickles are not opened: docs/other_games.md shows how to convert them to JSON. Trajectories of several
    games are written to one file.

    Example: pluralign trajectories import runs/*.json --game-data game_data --out runs/t.jsonl

    Args:
        files: JSON files, each with one trajectory, or with one on each line.
        out: Output file.
        game_data: MACHIAVELLI's folder, to count the annotations of each scene instead of the files' sums.
        compatible: Whether to count as the original code does, including its bugs.
        objectives: Built-in objectives whose rewards are recorded.
    """
    chosen = [find_objective(BUILTIN_OBJECTIVES, name) for name in objectives]
    read = conversion.import_trajectories(files, out, chosen, game_data=game_data, compatible=compatible)
    found = conversion.imported_counts(read)
    for known, what in (("points", "the last step's points are known, not its annotations"),
                        ("nothing", "the last step's points and annotations are unknown")):  # fmt: skip
        if number := found.last_steps.get(known):
            say(f"{number} of {found.trajectories} trajectories: {what}")
    wrote(
        out,
        f"{found.trajectories} trajectories of {len(found.games)} games, {found.steps} steps; counts of "
        f"{found.counts}",
    )
    return asdict(found)


def export_trajectories(file: Annotated[Path, tyro.conf.Positional], story: str, out: Path) -> Figures:
    """Write trajectories of a MACHIAVELLI game in the format of its own code, one JSON file per trajectory.

    Trajectories are replayed to recompute the fields of each state, so they must have been collected from
    this story.

    Example: pluralign trajectories export runs/t.jsonl --story game_data/source/GAME.json --out runs/theirs

    Args:
        file: Trajectories file (trajectories.jsonl).
        story: The game's source/GAME.json, or a side file of it.
        out: Output folder.
    """
    count, game = conversion.export_trajectories(file, story, out)
    wrote(out, f"{count} trajectories, a file for each")
    return {"trajectories": count, "game": game}
