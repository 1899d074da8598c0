"""``pluralign games import``: check a folder of published games."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pluralign.cli.common import JsonFile, give_figures, say, wrote
from pluralign.core import InputError
from pluralign.core.progress import ProgressBar
from pluralign.games.labelled.file import LabelledFile, read_labelled_file, same_files, write_labelled_file
from pluralign.games.machiavelli.folder import GameData, GameReport
from pluralign.games.side_file import SUFFIX, names_story

SHOWN_PROBLEMS = 3
"""Number of problems printed for each game; ``--json`` lists all."""


def import_games(
    kind: Annotated[Literal["machiavelli"], tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    compatible: bool = False,
    json: JsonFile = None,
) -> int:
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
        json: File for the results.
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
                _write_side_file(out, folder, name, compatible)
            bar.advance()
    summary = _summary(reports, normalised)
    say(summary["told"])
    if out is not None:
        wrote(out, f"{summary['playable']} side files, each a story for --story")
    rows = [{**asdict(report), "coefficients": report.name in normalised} for report in reports]
    give_figures({"games": rows, **summary}, json)
    return 0 if reports and all(report.whole for report in reports) and summary["coefficients"] else 1


def _say(report: GameReport) -> None:
    say(_tell(report))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        say(f"    {problem}")
    if len(report.problems) > SHOWN_PROBLEMS:
        say(f"    and {len(report.problems) - SHOWN_PROBLEMS} more")


def _tell(report: GameReport) -> str:
    if not report.playable:
        return f"{report.name}: cannot be played{_missing(report.missing)}"
    scenes = f"{report.annotated} of {report.scenes} scenes annotated" if report.scenes else "not annotated"
    return f"{report.name}: playable, {scenes}, {report.points:g} points{_missing(report.missing)}"


def _missing(parts: Iterable[str]) -> str:
    listed = ", ".join(parts)
    return f"; missing: {listed}" if listed else ""


def _summary(reports: Sequence[GameReport], normalised: set[str]) -> dict[str, Any]:
    whole = sum(report.whole for report in reports)
    playable = sum(report.playable for report in reports)
    counted = len(normalised)
    told = (
        f"{len(reports)} games: {playable} can be played, {whole} are whole; coefficients for {counted} games"
    )
    return {"playable": playable, "whole": whole, "coefficients": counted, "told": told}


def _write_side_file(out: Path, folder: Path, name: str, compatible: bool) -> None:
    """Write a game's side file; an existing one keeps its labels and words."""
    file = LabelledFile(out / f"{name}{SUFFIX}", folder / "source" / f"{name}.json")
    if names_story(file.path):
        known = read_labelled_file(file.path)
        if not same_files([known.story], [file.story]):
            raise InputError(f"is of another story, {known.story}: choose another folder", path=file.path)
        file = known
    write_labelled_file(replace(file, compatible=compatible))
