"""The side file that names a story and puts labels to it: ``{"story": ..., "labels": [...]}``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pluralign.core import InputError
from pluralign.core.files import write_json
from pluralign.games.choicescript import list_stories
from pluralign.games.side_file import SUFFIX, WORDS, names_story, read_fields, words_of


@dataclass(frozen=True)
class LabelledFile:
    """What such a side file says.

    Args:
        path: the file.
        story: a built-in story's name, or where the story is.
        labels: files of annotations, one for each objective.
        words: title, author, summary and player_character, where given.
        compatible: of a game of MACHIAVELLI: whether counts are made as the original makes them.
    """

    path: Path
    story: str | Path
    labels: tuple[Path, ...] = ()
    words: dict[str, str] = field(default_factory=dict[str, str])
    compatible: bool = False

    @property
    def name(self) -> str:
        """The story's identifier."""
        return self.path.name.removesuffix(SUFFIX)


def read_labelled_file(path: Path) -> LabelledFile:
    """Read a side file with ``story``.

    Raises:
        InputError: naming the field and what was expected.
    """
    row = read_fields(path, ("story", "labels", *WORDS, "compatible"), texts=("story", *WORDS))
    if "story" not in row:
        raise InputError("is missing", path=path, field="story")
    compatible = row.get("compatible", False)
    if not isinstance(compatible, bool):
        raise InputError(f"must be true or false, found {compatible!r:.60}", path=path, field="compatible")
    labels = row.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"must be a list of files, found {labels!r:.60}", path=path, field="labels")
    # Made absolute: a folder beside the file may be called as a built-in story is.
    story = row["story"] if row["story"] in list_stories() else (path.parent / row["story"]).absolute()
    if isinstance(story, Path) and names_story(story):
        raise InputError("is such a side file itself: name what it names", path=path, field="story")
    files = tuple(path.parent / label for label in labels)
    return LabelledFile(path, story, files, words_of(row), compatible)


def write_labelled_file(file: LabelledFile) -> None:
    """Write a side file, whole or not at all; paths become relative to it.

    Raises:
        InputError: it cannot be written.
    """
    story = file.story if isinstance(file.story, str) else _relative(file.story, file.path)
    # A folder beside the file may be called as a built-in story is.
    if isinstance(file.story, Path) and story in list_stories():
        story = f"./{story}"
    labels = [_relative(label, file.path) for label in file.labels]
    row = {"story": story, "labels": labels, **file.words}
    write_json(file.path, {**row, "compatible": True} if file.compatible else row)


def same_files(some: Sequence[str | Path], others: Sequence[str | Path]) -> bool:
    """Whether these are the same stories or files, however their paths are written."""
    one, other = ([p.resolve() if isinstance(p, Path) else p for p in paths] for paths in (some, others))
    return one == other


def _relative(path: Path, beside: Path) -> str:
    return Path(os.path.relpath(path.resolve(), beside.parent.resolve())).as_posix()
