"""Opening of stories by name or path: built-in stories, ChoiceScript folders, Ink, MACHIAVELLI, Z-machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.games.choicescript.load import list_stories, load_story
from pluralign.games.game import Story
from pluralign.games.ink.load import is_ink, load_ink
from pluralign.games.labelled.file import LabelledFile, read_labelled_file
from pluralign.games.labelled.story import label_story
from pluralign.games.machiavelli.folder import is_machiavelli, load_machiavelli
from pluralign.games.side_file import names_story
from pluralign.games.zmachine.load import load_zmachine
from pluralign.games.zmachine.side_file import is_zmachine

Opener = Callable[[str | Path], Story | None]
"""Function that opens one kind of story by name or path. It returns None if the argument is not of this kind,
and raises an `InputError` if it is but cannot be read."""


def open_machiavelli(path_or_name: str | Path) -> Story | None:
    """A game of MACHIAVELLI by the path of its source, ``game_data/source/GAME.json``."""
    return load_machiavelli(path_or_name) if is_machiavelli(path_or_name) else None


def open_zmachine(path_or_name: str | Path) -> Story | None:
    """A Z-machine story by the path of its file, or of the side file that names it."""
    return load_zmachine(path_or_name) if is_zmachine(path_or_name) else None


def open_ink(path_or_name: str | Path) -> Story | None:
    """An Ink story by the path of its compiled file, or of the side file that names it."""
    return load_ink(path_or_name) if is_ink(path_or_name) and not Path(path_or_name).is_dir() else None


def open_choicescript(path_or_name: str | Path) -> Story | None:
    """A built-in story by name, or a folder of ChoiceScript scenes by path."""
    builtin = str(path_or_name) in list_stories()
    return load_story(path_or_name) if builtin or Path(path_or_name).is_dir() else None


OPENERS: tuple[Opener, ...] = (open_machiavelli, open_zmachine, open_ink, open_choicescript)
"""The openers that `open_story` tries, in this order."""


@checked
def open_story(path_or_name: str | Path, openers: Sequence[Opener] = OPENERS) -> Story:
    """Read a story; ``open_story(...).make_game`` makes games of it.

    Args:
        path_or_name: Name of a built-in story; or path of a folder of ChoiceScript scenes, of an Ink story's
            compiled file or its side file, of a Z-machine story or its side file, of ``source/GAME.json`` in
            MACHIAVELLI's ``game_data``, or of a side file that names any of these (`read_labelled_file`).
        openers: Openers to try in order; the first that returns a story decides. Put your own before or after
            `OPENERS`.

    Raises:
        InputError: There is no such story, or it cannot be played.

    Examples:
        >>> import pluralign as pl
        >>> pl.open_story("salt_ledger").info.title
        'The Salt Ledger'
    """
    path = Path(path_or_name)
    if names_story(path):
        file = read_labelled_file(path)
        story = open_named(file, openers)
        return label_story(file, story) if file.labels or file.words else story
    for opener in openers:
        story = opener(path_or_name)
        if story is not None:
            return story
    if path.exists():
        raise InputError(
            "is not a story: expected a folder of ChoiceScript scenes, a compiled Ink file or a Z-machine "
            "story",
            path=path,
        )
    known = ", ".join(list_stories()) or "none"
    raise InputError(
        f"no story '{path_or_name}': neither a folder of ChoiceScript scenes, nor an Ink story's .json, nor "
        f"a Z-machine story, nor built in (built in: {known})"
    )


def open_named(file: LabelledFile, openers: Sequence[Opener] = OPENERS) -> Story:
    """The story that a side file names, without the file's labels.

    Raises:
        InputError: See `open_story`.
    """
    if not file.compatible:
        return open_story(file.story, openers)
    if not is_machiavelli(file.story):
        raise InputError("is only for games of MACHIAVELLI", path=file.path, field="compatible")
    return load_machiavelli(file.story, compatible=True)
