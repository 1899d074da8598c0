"""Checks of any kind of story, by name or path."""

from __future__ import annotations

from pathlib import Path

from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.problems import Problem
from pluralign.games.ink.check import check_ink
from pluralign.games.ink.load import is_ink
from pluralign.games.labelled.file import read_labelled_file
from pluralign.games.machiavelli.folder import GameData, is_machiavelli
from pluralign.games.open import open_story
from pluralign.games.side_file import names_story
from pluralign.games.zmachine.check import check_zmachine
from pluralign.games.zmachine.side_file import is_zmachine


def check_game(path_or_name: str | Path) -> list[Problem]:
    """All errors that the check of a story's kind finds; labels in a side file are checked by reading them.

    Args:
        path_or_name: Name or path of the story (see `open_story`).

    Raises:
        InputError: There is no such story, or its side file or labels have an error.
    """
    path = Path(path_or_name)
    if names_story(path):
        open_story(path)
        return check_game(read_labelled_file(path).story)
    if is_machiavelli(path):
        found = GameData(path.parent.parent).check(path.stem)
        messages = [*(f"{part} is missing" for part in found.missing), *found.problems]
        return [Problem(str(path_or_name), 0, "game", message) for message in messages]
    if is_zmachine(path):
        return check_zmachine(path)
    if is_ink(path):
        return [Problem.of(error, "play", str(path_or_name)) for error in check_ink(path)]
    return check_story(path_or_name)
