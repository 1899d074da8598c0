"""A ``game_data`` folder as stories: all of its games are checked, and side files name the playable ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pluralign.core.progress import ProgressBar
from pluralign.games.labelled.file import name_story
from pluralign.games.machiavelli.folder import SOURCES, GameData, GameReport
from pluralign.games.side_file import SUFFIX


@dataclass(frozen=True)
class FolderReport:
    """Result of the check of a folder.

    Args:
        games: Reports of the games.
        coefficients: Names of the games that the folder has coefficients for.
    """

    games: Sequence[GameReport]
    coefficients: Collection[str]

    @property
    def playable(self) -> int:
        """Number of games that can be played."""
        return sum(game.playable for game in self.games)

    @property
    def whole(self) -> bool:
        """Whether there are games and coefficients, and all games are whole."""
        return bool(self.games) and all(game.whole for game in self.games) and bool(self.coefficients)

    def __str__(self) -> str:
        whole = sum(game.whole for game in self.games)
        return (
            f"{len(self.games)} games: {self.playable} can be played, {whole} are whole; coefficients for "
            f"{len(self.coefficients)} games"
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        known = self.coefficients
        return {
            "games": [{**asdict(game), "coefficients": game.name in known} for game in self.games],
            "playable": self.playable, "whole": sum(game.whole for game in self.games),
            "coefficients": len(known), "told": str(self),
        }  # fmt: skip


def import_folder(
    folder: str | Path, out: str | Path | None = None, *, compatible: bool = False,
    done: Callable[[GameReport], None] | None = None, shown: bool = True,
) -> FolderReport:  # fmt: skip
    """Check the games of a folder, and write side files that name the playable ones.

    Args:
        folder: The folder.
        out: Folder for the side files, each of which is a story; None writes none.
        compatible: Whether the side files request counts as in the original code, including its bugs.
        done: Function that is called after each game.
        shown: Whether to show a progress bar on a terminal.

    Raises:
        InputError: This is no ``game_data`` folder, or a side file names another story.
    """
    data = GameData(folder)
    coefficients, names = set(data.coefficients()), data.games
    reports: list[GameReport] = []
    with ProgressBar(len(names), "games", unit="game", shown=shown) as bar:
        for name in names:
            report = data.check(name)
            reports.append(report)
            if done is not None:
                done(report)
            if out is not None and report.playable:
                source = Path(folder) / SOURCES / f"{name}.json"
                name_story(Path(out) / f"{name}{SUFFIX}", source, compatible=compatible)
            bar.advance()
    return FolderReport(tuple(reports), coefficients)
