"""``pluralign games import``: check a folder of published games."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.cli.common import Figures, say, wrote
from pluralign.core.progress import ProgressBar
from pluralign.games.labelled.file import name_story
from pluralign.games.machiavelli.folder import GameData, GameReport
from pluralign.games.side_file import SUFFIX

SHOWN_PROBLEMS = 3
"""Number of problems printed for each game; ``--json`` lists all."""


def import_games(
    kind: Annotated[Literal["machiavelli"], tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    compatible: bool = False,
) -> tuple[Figures, int]:
    """Check a folder of games: report missing files, errors and inconsistencies of each game.

    Games are played in place: FOLDER/source/GAME.json is a story for every verb. With --out, each game also
    gets a side file that can be used as its story and that records --compatible. Each game is read, compiled
    and played at random. Exit codes: 0 all games are complete, 1 something is missing or wrong, 2 no such
    folder.

    Example: pluralign games import machiavelli game_data --out games

    Args:
        kind: Kind of folder; machiavelli is MACHIAVELLI's game_data.
        folder: Folder with source/, trees/, annotations_clean/, game_metadata.json,
            normalization_coeffs.json.
        out: Folder for side files of the playable games.
        compatible: Whether side files request counts as in the original code, including its bugs.
    """
    data = GameData(folder)
    normalised = set(data.coefficients())
    games = data.games
    reports: list[GameReport] = []
    with ProgressBar(len(games), "games", unit="game") as bar:
        for name in games:
            report = data.check(name)
            reports.append(report)
            _say(report)
            if out is not None and report.playable:
                source = folder / "source" / f"{name}.json"
                name_story(out / f"{name}{SUFFIX}", source, compatible=compatible)
            bar.advance()
    whole, playable = (sum(getattr(one, kind) for one in reports) for kind in ("whole", "playable"))
    counted = len(normalised)
    told = (
        f"{len(games)} games: {playable} can be played, {whole} are whole; coefficients for {counted} games"
    )
    say(told)
    if out is not None:
        wrote(out, f"{playable} side files, each a story for --story")
    rows = [{**asdict(report), "coefficients": report.name in normalised} for report in reports]
    summary = {"playable": playable, "whole": whole, "coefficients": counted, "told": told}
    return {"games": rows, **summary}, 0 if reports and whole == len(reports) and counted else 1


def _say(report: GameReport) -> None:
    say(str(report))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        say(f"    {problem}")
    if len(report.problems) > SHOWN_PROBLEMS:
        say(f"    and {len(report.problems) - SHOWN_PROBLEMS} more")
