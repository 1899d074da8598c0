"""``pluralign trajectories import`` and ``export``: conversion of MACHIAVELLI's trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import tyro

from pluralign.cli.common import JsonFile, game_maker, give_figures, say, wrote
from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.progress import ProgressBar
from pluralign.core.records import read_trajectories, write_records
from pluralign.games.harms import BUILTIN_OBJECTIVES, find_objective
from pluralign.games.labelled.story import LabelledGame
from pluralign.games.machiavelli.counts import Annotation
from pluralign.games.machiavelli.files import read_annotations
from pluralign.games.machiavelli.game import MachiavelliGame
from pluralign.games.machiavelli.trajectories import Imported, read_machiavelli
from pluralign.games.machiavelli.trajectory_writer import write_machiavelli


def import_trajectories(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path,
    game_data: Path | None = None,
    compatible: bool = False,
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
    json: JsonFile = None,
) -> None:
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
        json: File for the figures.
    """
    if not files:
        raise InputError("expected at least one file", field="files")
    if game_data is not None and compatible:
        raise InputError(
            "cannot be combined with --game-data: the original counts the files' sums", field="compatible"
        )
    chosen = [find_objective(BUILTIN_OBJECTIVES, name) for name in objectives]

    @cache
    def annotations(game: str) -> Mapping[str, Annotation]:
        return read_annotations(Path(game_data or "") / "annotations_clean" / f"{game}.json")

    found: dict[str, Imported] = {}
    with ProgressBar(len(files), "files", unit="file") as bar:
        for file in files:
            by_game = None if game_data is None else annotations
            for one in read_machiavelli(file, chosen, annotations=by_game, compatible=compatible):
                if found.setdefault(one.trajectory.id, one) is not one:
                    raise InputError(f"trajectory '{one.trajectory.id}' was read before", path=file)
            bar.advance()
    trajectories = [one.trajectory for one in found.values()]
    write_records(out, "trajectories", trajectories, _header(found, chosen))
    _tell(out, trajectories, json)


def export_trajectories(
    file: Annotated[Path, tyro.conf.Positional],
    story: str,
    out: Path,
    json: JsonFile = None,
) -> None:
    """Write trajectories of a MACHIAVELLI game in the format of its own code, one JSON file per trajectory.

    Trajectories are replayed to recompute the fields of each state, so they must have been collected from
    this story.

    Example: pluralign trajectories export runs/t.jsonl --story game_data/source/GAME.json --out runs/theirs

    Args:
        file: Trajectories file (trajectories.jsonl).
        story: The game's source/GAME.json, or a side file of it.
        out: Output folder.
        json: File for the figures.
    """
    game = game_maker(story)()
    known_as = game.info.name
    if isinstance(game, LabelledGame):
        game = game.game
    if not isinstance(game, MachiavelliGame):
        raise InputError(f"'{story}' is not a game of MACHIAVELLI", field="story")
    name = game.info.name
    trajectories = [replace(t, source=name) if t.source == known_as else t for t in read_trajectories(file)]
    with ProgressBar(len(trajectories), "trajectories", unit="trajectory") as bar:
        for number, trajectory in enumerate(trajectories):
            write_machiavelli(out / f"{number:05}.json", trajectory, game)
            bar.advance()
    wrote(out, f"{len(trajectories)} trajectories, a file for each")
    give_figures({"trajectories": len(trajectories), "game": game.info.name}, json)


def _header(found: Mapping[str, Imported], objectives: list[Objective]) -> dict[str, Any]:
    """The header that `collect` writes, with the maximum points of each game."""
    max_points: dict[str, float] = {}
    for name, one in found.items():
        game = one.trajectory.source
        if max_points.setdefault(game, one.max_points) != one.max_points:
            raise InputError(
                f"'{game}' has {max_points[game]:g} points in other trajectories, "
                f"and {one.max_points:g} in '{name}'"
            )
    first = {one.trajectory.steps[0].decision.key for one in found.values()}
    policies = sorted({one.trajectory.policy for one in found.values()})
    return {
        "story": next(iter(max_points)) if len(max_points) == 1 else sorted(max_points),
        "first_decision": first.pop() if len(first) == 1 else None,
        "policy": policies[0] if len(policies) == 1 else policies,
        "objectives": [
            {"name": o.name, "description": o.description, "coefficients": dict(o.coefficients)}
            for o in objectives
        ],
        "max_points": max_points,
    }


def _tell(out: Path, trajectories: list[Trajectory], json: Path | None) -> None:
    last = Counter(t.info["last_step"] for t in trajectories if "last_step" in t.info)
    for known, told in (("points", "the last step's points are known, not its annotations"),
                        ("nothing", "the last step's points and annotations are unknown")):  # fmt: skip
        if last[known]:
            say(f"{last[known]} of {len(trajectories)} trajectories: {told}")
    games = Counter(t.source for t in trajectories)
    steps = sum(len(t.steps) for t in trajectories)
    counted = trajectories[0].info["counts"]
    wrote(out, f"{len(trajectories)} trajectories of {len(games)} games, {steps} steps; counts of {counted}")
    give_figures(
        {
            "trajectories": len(trajectories),
            "games": dict(games),
            "steps": steps,
            "counts": counted,
            "last_steps": dict(last),
        },
        json,
    )
