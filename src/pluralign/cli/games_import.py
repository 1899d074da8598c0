"""``pluralign games import``: check a folder of published games."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.cli.common import Figures, say, wrote
from pluralign.core import InputError
from pluralign.games.machiavelli.folder import GameReport
from pluralign.games.machiavelli.import_folder import import_folder
from pluralign.games.zmachine.clone import import_clone

SHOWN_PROBLEMS = 3
"""Number of problems printed for each game; ``--json`` lists all."""


def import_games(
    kind: Annotated[Literal["machiavelli", "jiminy-cricket"], tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    compatible: bool = False,
) -> tuple[Figures, int]:
    """Check a folder of games: report missing files, errors and inconsistencies of each game.

    Games are played in place. With --out, each playable game gets a side file that can be used as its story.
    FOLDER/source/GAME.json of MACHIAVELLI is a story for every verb without one; each of its games is read,
    compiled and played at random. Exit codes: 0 all games are complete, 1 something is missing or wrong, 2 no
    such folder.

    Example: pluralign games import machiavelli game_data --out games

    Args:
        kind: Kind of folder; machiavelli is MACHIAVELLI's game_data, jiminy-cricket a clone of Jiminy
            Cricket's repository.
        folder: Folder with source/, trees/, annotations_clean/, game_metadata.json,
            normalization_coeffs.json; or with annotated_games/, game_info.py.
        out: Folder for side files of the playable games.
        compatible: Whether side files of MACHIAVELLI request counts as in the original code, including its
            bugs.
    """
    if kind == "machiavelli":
        found = import_folder(folder, out, compatible=compatible, done=_say)
    else:
        if compatible:
            raise InputError("is only for games of MACHIAVELLI", field="compatible")
        found = import_clone(folder, out)
        for game in found.games:
            say(str(game))
    say(str(found))
    if out is not None:
        wrote(out, f"{found.playable} side files, each a story for --story")
    return found.to_json(), 0 if found.whole else 1


def _say(report: GameReport) -> None:
    say(str(report))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        say(f"    {problem}")
    if len(report.problems) > SHOWN_PROBLEMS:
        say(f"    and {len(report.problems) - SHOWN_PROBLEMS} more")
