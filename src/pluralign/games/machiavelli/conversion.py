"""Conversion of MACHIAVELLI's trajectories to ``trajectories.jsonl``, and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.files import folder_when_whole
from pluralign.core.progress import ProgressBar
from pluralign.core.records import read_trajectories, write_records
from pluralign.core.resumable import RowsInProgress
from pluralign.games.labelled.story import LabelledGame
from pluralign.games.machiavelli.counts import Annotation
from pluralign.games.machiavelli.files import read_annotations
from pluralign.games.machiavelli.game import MachiavelliGame
from pluralign.games.machiavelli.imported import Imported, decode_imported, encode_imported
from pluralign.games.machiavelli.trajectories import read_machiavelli
from pluralign.games.machiavelli.trajectory_writer import write_machiavelli
from pluralign.games.open import open_story


def import_trajectories(
    files: Sequence[Path], out: Path, objectives: Sequence[Objective], *, game_data: Path | None = None,
    compatible: bool = False,
) -> list[Trajectory]:  # fmt: skip
    """Convert JSON files of the original to one ``trajectories.jsonl``. An interrupted call continues: files
    that it has read are not read again.

    Args:
        files: Files with one trajectory each, or with one per line.
        out: Output file.
        objectives: Objectives whose rewards are recorded.
        game_data: MACHIAVELLI's folder, to count the annotations of each scene instead of the files' sums.
        compatible: Whether to count as the original code does, including its bugs.

    Raises:
        InputError: There is no file, a trajectory occurs twice, or games have different points in the files.
    """
    if not files:
        raise InputError("expected at least one file", field="files")
    if game_data is not None and compatible:
        raise InputError(
            "cannot be combined with --game-data: the original counts the files' sums", field="compatible"
        )

    @cache
    def annotations(game: str) -> Mapping[str, Annotation]:
        return read_annotations(Path(game_data or "") / "annotations_clean" / f"{game}.json")

    found: dict[str, Imported] = {}
    settings = {
        "objectives": [o.to_json() for o in objectives],
        "compatible": compatible,
        "game_data": _stamps(sorted((game_data / "annotations_clean").glob("*.json")) if game_data else ()),
    }
    with RowsInProgress(out, settings) as target, ProgressBar(len(files), "files", unit="file") as bar:
        known = {json.dumps(row["file"]): row for row in target.rows()}
        for file in files:
            (stamp,) = _stamps([file])
            row = known.get(json.dumps(stamp))
            if row is None:
                by_game = None if game_data is None else annotations
                read = list(read_machiavelli(file, objectives, annotations=by_game, compatible=compatible))
            else:
                read = decode_imported(row["imported"], file)
            for one in read:
                if found.setdefault(one.trajectory.id, one) is not one:
                    raise InputError(f"trajectory '{one.trajectory.id}' was read before", path=file)
            if row is None:
                target.write([{"file": stamp, "imported": encode_imported(read)}])
            bar.advance()
        trajectories = [one.trajectory for one in found.values()]
        write_records(out, "trajectories", trajectories, _header(found, objectives))
        target.drop()
    return trajectories


@dataclass(frozen=True)
class ImportedCounts:
    """Numbers of imported trajectories.

    Args:
        trajectories: Number of trajectories.
        games: Number of trajectories of each game.
        steps: Number of steps of all trajectories.
        counts: Source of the counts of steps; see `Imported`.
        last_steps: Number of trajectories by what is known of the last step's counts.
    """

    trajectories: int
    games: Mapping[str, int]
    steps: int
    counts: str
    last_steps: Mapping[str, int]


def imported_counts(trajectories: Sequence[Trajectory]) -> ImportedCounts:
    """Numbers of trajectories that `import_trajectories` read."""
    return ImportedCounts(
        len(trajectories),
        dict(Counter(one.source for one in trajectories)),
        sum(len(one.steps) for one in trajectories),
        trajectories[0].info["counts"],
        dict(Counter(one.info["last_step"] for one in trajectories if "last_step" in one.info)),
    )


def export_trajectories(file: Path, story: str, out: Path) -> tuple[int, str]:
    """Write trajectories of a MACHIAVELLI game in the format of its own code, one JSON file per trajectory.

    Args:
        file: Trajectories file, collected from this story.
        story: Source of the game, or a side file of it.
        out: Output folder, which does not exist or is empty, since readers take every file in it.

    Returns:
        Number of trajectories, and the game's name.

    Raises:
        InputError: The story is not a game of MACHIAVELLI, a trajectory is of another game, or the folder has
            files.
    """
    game = open_story(story).make_game()
    known_as = game.info.name
    if isinstance(game, LabelledGame):
        game = game.game
    if not isinstance(game, MachiavelliGame):
        raise InputError(f"'{story}' is not a game of MACHIAVELLI", field="story")
    name = game.info.name
    trajectories = [replace(t, source=name) if t.source == known_as else t for t in read_trajectories(file)]
    bar = ProgressBar(len(trajectories), "trajectories", unit="trajectory")
    # Readers take every file of a folder: one with a part of the trajectories would count as whole.
    with folder_when_whole(out) as temporary, bar:
        for number, trajectory in enumerate(trajectories):
            write_machiavelli(temporary / f"{number:05}.json", trajectory, game)
            bar.advance()
    return len(trajectories), name


def _stamps(files: Sequence[Path]) -> list[list[str | int]]:
    """What tells the contents of files from others: path, size, and time of the last change."""
    stamps: list[list[str | int]] = []
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", path=file) from error
        stamps.append([str(file.absolute()), facts.st_size, facts.st_mtime_ns])
    return stamps


def _header(found: Mapping[str, Imported], objectives: Sequence[Objective]) -> dict[str, Any]:
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
        "objectives": [o.to_json() for o in objectives],
        "max_points": max_points,
    }
