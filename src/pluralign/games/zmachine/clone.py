"""The annotated games in a clone of Jiminy Cricket's repository, as stories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json, write_json
from pluralign.core.jsonl import is_object
from pluralign.games.side_file import SUFFIX
from pluralign.games.zmachine.annotations import Annotations, read_annotations

# game_info.py: game_name = 'ballyhoo' ... game_info[game_name]['max_score'] = 205
_MAX_SCORE = re.compile(r"game_name = '(\w+)'|\['max_score'\] = (\d+)")


@dataclass(frozen=True)
class ClonedGame:
    """An annotated game of a clone.

    Args:
        name: Name of its folder.
        story: Story file with markers; None if it is missing.
        walkthrough: Walkthrough; None if it is missing.
        initial_actions: Commands that an episode begins with; None if the game needs none.
        replacements: Texts that the story file prints as numbers; None if it has none.
        max_points: Attainable points; None if ``game_info.py`` does not say.
        annotations: Annotations; None if they are missing or wrong.
        problems: What is missing or wrong.
    """

    name: str
    story: Path | None
    walkthrough: Path | None
    initial_actions: Path | None
    replacements: Path | None
    max_points: int | None
    annotations: Annotations | None
    problems: tuple[str, ...]

    @property
    def playable(self) -> bool:
        """Whether there are a story file and annotations."""
        return self.story is not None and self.annotations is not None

    def __str__(self) -> str:
        if self.annotations is None:
            return f"{self.name}: {'; '.join(self.problems)}"
        labelled, refused = len(self.annotations.known), len(self.annotations.refused)
        parts = [f"{labelled} annotations, {refused} not counted", *self.problems]
        return f"{self.name}: {'; '.join(parts)}"


def read_clone(folder: Path) -> list[ClonedGame]:
    """The annotated games of a clone.

    Args:
        folder: The clone, or its folder ``annotated_games``.

    Raises:
        InputError: The folder has no annotated game.
    """
    games = folder / "annotated_games"
    games = games if games.is_dir() else folder
    found = sorted(path.parent for path in games.glob("*/*_annotations.csv"))
    if not found:
        raise InputError("has no annotated_games/GAME/GAME_annotations.csv", path=folder)
    info = games.parent / "game_info.py"
    scores = _max_scores(info.read_text(encoding="utf-8")) if info.is_file() else {}
    return [_read_game(game, scores.get(game.name)) for game in found]


@dataclass(frozen=True)
class CloneReport:
    """The annotated games of a clone, and what they lack.

    Args:
        games: The games.
    """

    games: Sequence[ClonedGame]

    @property
    def playable(self) -> int:
        """Number of games that can be played."""
        return sum(game.playable for game in self.games)

    @property
    def whole(self) -> bool:
        """Whether all games can be played and lack nothing."""
        return self._whole == len(self.games)

    @property
    def _whole(self) -> int:
        return sum(game.playable and not game.problems for game in self.games)

    def __str__(self) -> str:
        return f"{len(self.games)} games: {self.playable} can be played, {self._whole} are whole"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        rows = [
            {
                "name": game.name,
                "playable": game.playable,
                "annotations": 0 if game.annotations is None else len(game.annotations.known),
                "refused": [asdict(one) for one in game.annotations.refused] if game.annotations else [],
                "problems": list(game.problems),
            }
            for game in self.games
        ]
        return {"games": rows, "playable": self.playable, "whole": self._whole, "told": str(self)}


def import_clone(folder: str | Path, out: str | Path | None = None) -> CloneReport:
    """Check the games of a clone, and write side files for the playable ones.

    Args:
        folder: See `read_clone`.
        out: Folder for the side files, each of which is a story; None writes none.

    Raises:
        InputError: See `read_clone`; or a side file names another story.
    """
    games = read_clone(Path(folder))
    for game in games:
        if out is not None and game.playable:
            write_cloned_game(game, Path(out))
    return CloneReport(tuple(games))


def write_cloned_game(game: ClonedGame, folder: Path) -> Path:
    """Write the side file of a playable game, and return its path; an existing one of this story keeps its
    fields.

    Raises:
        InputError: The file names another story.
    """
    assert game.annotations is not None, "only playable games are stories"
    files = {
        "zmachine": game.story,
        "walkthrough": game.walkthrough,
        "initial_actions": game.initial_actions,
        "annotations": game.annotations.path,
        "replacements": game.replacements,
    }
    row: dict[str, Any] = {key: str(file.resolve()) for key, file in files.items() if file is not None}
    if game.max_points is not None:
        row["max_points"] = game.max_points
    # The authors' own seed.
    row["walkthrough_seed"] = 1
    path = folder / f"{game.name}{SUFFIX}"
    known: Any = read_json(path) if path.is_file() else {}
    if not is_object(known) or not _is_of(path, known.get("zmachine", row["zmachine"]), row["zmachine"]):
        raise InputError("is of another story: choose another folder", path=path)
    write_json(path, {**row, **known})
    return path


def _is_of(path: Path, found: object, story: str) -> bool:
    """Whether a side file's path of its story is that of this one."""
    return isinstance(found, str) and (path.parent / found).resolve() == Path(story)


def _read_game(folder: Path, max_points: int | None) -> ClonedGame:
    name, problems = folder.name, list[str]()
    stories = sorted(folder.glob(f"{name}.z[0-9]"))
    walkthrough = folder / f"{name}_walkthrough.txt"
    initial_actions = folder / "initial_actions.txt"
    replacements = folder / "replacement_dict.csv"
    if not stories:
        problems.append("the story file is missing")
    if not walkthrough.is_file():
        problems.append("the walkthrough is missing")
    if max_points is None:
        problems.append("game_info.py does not say how many points it has")
    annotations = None
    try:
        annotations = read_annotations(folder / f"{name}_annotations.csv")
    except InputError as error:
        problems.append(str(error))
    return ClonedGame(
        name=name,
        story=stories[0] if stories else None,
        walkthrough=walkthrough if walkthrough.is_file() else None,
        initial_actions=initial_actions if initial_actions.is_file() else None,
        replacements=replacements if replacements.is_file() else None,
        max_points=max_points,
        annotations=annotations,
        problems=tuple(problems),
    )


def _max_scores(source: str) -> dict[str, int]:
    scores: dict[str, int] = {}
    name = ""
    for found in _MAX_SCORE.finditer(source):
        if found[1]:
            name = found[1]
        else:
            scores[name] = int(found[2])
    return scores
