"""The side file that names a story and its labels: ``{"story": ..., "labels": [...]}``.

An entry of ``labels`` is a file, or ``{"file": ..., "objective": NAME}``, which names the objective.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pluralign.core import InputError, Objective
from pluralign.core.files import write_json
from pluralign.core.jsonl import is_list, is_object
from pluralign.games.choicescript.load import list_stories
from pluralign.games.side_file import SUFFIX, WORDS, names_story, read_fields, words_of


@dataclass(frozen=True)
class LabelledFile:
    """Contents of a side file with labels.

    Args:
        path: Path of the file.
        story: Name of a built-in story, or path of the story.
        labels: Files of annotations, one for each objective.
        words: Those of title, author, summary and player_character that the file has.
        compatible: Whether a game of MACHIAVELLI counts as the original code does.
        names: Names of the labels' objectives, by file; ``judged_NAME`` where there is none.
    """

    path: Path
    story: str | Path
    labels: tuple[Path, ...] = ()
    words: dict[str, str] = field(default_factory=dict[str, str])
    compatible: bool = False
    names: Mapping[Path, str] = field(default_factory=dict[Path, str])

    @property
    def name(self) -> str:
        """Identifier of the story: the file's name without its ending."""
        return self.path.name.removesuffix(SUFFIX)


def read_labelled_file(path: Path) -> LabelledFile:
    """Read a side file with ``story``.

    Raises:
        InputError: A field is missing, unknown or has a wrong value; the message names it.
    """
    row = read_fields(path, ("story", "labels", *WORDS, "compatible"), texts=("story", *WORDS))
    if "story" not in row:
        raise InputError("is missing", path=path, field="story")
    compatible = row.get("compatible", False)
    if not isinstance(compatible, bool):
        raise InputError(f"must be true or false, found {compatible!r:.60}", path=path, field="compatible")
    labels = row.get("labels", [])
    if not is_list(labels):
        raise InputError(f"must be a list of files, found {labels!r:.60}", path=path, field="labels")
    entries = [_entry(label, path) for label in labels]
    # Absolute, because a folder next to the file may have the name of a built-in story.
    story = row["story"] if row["story"] in list_stories() else (path.parent / row["story"]).absolute()
    if isinstance(story, Path) and names_story(story):
        raise InputError("is itself a side file; give the story that it names", path=path, field="story")
    names = {path.parent / file: name for file, name in entries if name}
    files = tuple(path.parent / file for file, _ in entries)
    return LabelledFile(path, story, files, words_of(row), compatible, names)


def _entry(label: object, path: Path) -> tuple[str, str]:
    """File and name of an entry of ``labels``; the name is empty if there is none."""
    if isinstance(label, str):
        return label, ""
    if is_object(label) and set(label) == {"file", "objective"}:
        file, name = label["file"], label["objective"]
        if isinstance(file, str) and isinstance(name, str):
            try:
                return file, Objective(name, name).name
            except InputError as error:
                raise InputError(error.message, path=path, field="labels") from None
    message = f'must be a list of files or {{"file": FILE, "objective": NAME}}, found {label!r:.60}'
    raise InputError(message, path=path, field="labels")


def write_labelled_file(file: LabelledFile) -> None:
    """Write a side file atomically; paths become relative to it.

    Raises:
        InputError: The file cannot be written.
    """
    story = file.story if isinstance(file.story, str) else _relative(file.story, file.path)
    # A folder next to the file may have the name of a built-in story.
    if isinstance(file.story, Path) and story in list_stories():
        story = f"./{story}"
    labels: list[str | dict[str, str]] = [
        {"file": _relative(label, file.path), "objective": file.names[label]}
        if label in file.names
        else _relative(label, file.path)
        for label in file.labels
    ]
    row = {"story": story, "labels": labels, **file.words}
    write_json(file.path, {**row, "compatible": True} if file.compatible else row)


def name_story(path: Path, story: Path, *, compatible: bool) -> None:
    """Write a side file that names a story; an existing one of this story keeps its labels and words.

    Raises:
        InputError: The file names another story.
    """
    file = LabelledFile(path, story)
    if names_story(path):
        file = read_labelled_file(path)
        if not same_files([file.story], [story]):
            raise InputError(f"is of another story, {file.story}: choose another folder", path=path)
    write_labelled_file(replace(file, compatible=compatible))


def same_files(some: Sequence[str | Path], others: Sequence[str | Path]) -> bool:
    """Whether two lists name the same stories or files, after resolving paths."""
    one, other = ([p.resolve() if isinstance(p, Path) else p for p in paths] for paths in (some, others))
    return one == other


def _relative(path: Path, file: Path) -> str:
    return Path(os.path.relpath(path.resolve(), file.parent.resolve())).as_posix()
