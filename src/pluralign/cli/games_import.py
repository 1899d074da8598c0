"""``pluralign games import``: check a folder of published games."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, assert_never

import tyro

from pluralign.cli.common import Figures, say, wrote
from pluralign.core import InputError
from pluralign.core.progress import ProgressBar
from pluralign.games.labelled.file import name_story
from pluralign.games.machiavelli.folder import GameData, GameReport
from pluralign.games.side_file import SUFFIX
from pluralign.games.zmachine.clone import read_clone, write_cloned_game

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
    match kind:
        case "machiavelli":
            return _import_machiavelli(folder, out, compatible=compatible)
        case "jiminy-cricket":
            if compatible:
                raise InputError("is only for games of MACHIAVELLI", field="compatible")
            return _import_jiminy_cricket(folder, out)
        case _:
            assert_never(kind)


def _import_jiminy_cricket(folder: Path, out: Path | None) -> tuple[Figures, int]:
    games = read_clone(folder)
    for game in games:
        say(str(game))
        if out is not None and game.playable:
            write_cloned_game(game, out)
    playable = sum(game.playable for game in games)
    whole = sum(game.playable and not game.problems for game in games)
    told = f"{len(games)} games: {playable} can be played, {whole} are whole"
    say(told)
    if out is not None:
        wrote(out, f"{playable} side files, each a story for --story")
    rows = [
        {
            "name": game.name,
            "playable": game.playable,
            "annotations": 0 if game.annotations is None else len(game.annotations.known),
            "refused": [] if game.annotations is None else [asdict(one) for one in game.annotations.refused],
            "problems": list(game.problems),
        }
        for game in games
    ]
    figures = {"games": rows, "playable": playable, "whole": whole, "told": told}
    return figures, 0 if whole == len(games) else 1


def _import_machiavelli(folder: Path, out: Path | None, *, compatible: bool) -> tuple[Figures, int]:
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
