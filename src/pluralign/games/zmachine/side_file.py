"""Side files of Z-machine stories: walkthrough, annotations, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.core.jsonl import is_list, is_object
from pluralign.games.side_file import SUFFIX, WORDS, names_story, read_fields, words_of

SUFFIXES = tuple(f".z{version}" for version in range(1, 9))
"""Endings of story files; versions 3, 4, 5 and 8 can be played."""

_PATHS = ("zmachine", "walkthrough", "initial_actions", "candidates", "annotations", "replacements")
_NUMBERS = ("max_options", "max_moves", "max_points", "walkthrough_seed")
_LISTS = ("templates", "endings")
_KEYS = (*_PATHS, *_NUMBERS, *_LISTS, "player", "annotated_by", "try_unknown", *WORDS)

MAX_OPTIONS = 40
MAX_MOVES = 400


@dataclass(frozen=True)
class SideFile:
    """Contents of a Z-machine story's side file.

    Args:
        path: Path of the file.
        story: Path of the story file.
        words: Those of title, author, summary and player_character that the file has.
        walkthrough: File with one command per line; None without.
        initial_actions: File with one command per line, entered before each episode begins; None without.
        candidates: File of the commands to list; ``NAME.candidates.json`` next to the side file by default.
        annotations: Jiminy Cricket's CSV of annotations; None without.
        markers: Whether the story file prints markers where annotated lines are reached; otherwise
            annotations are recognised by the text that they quote.
        replacements: Jiminy Cricket's CSV of texts that the story file prints as numbers; None without.
        templates: Further commands to try, such as ``polish {thing}`` or ``wipe {thing} with {held}``.
        endings: Further texts with which play ends.
        player: Name of the object that is the player; found by walking without it.
        max_options: Largest number of commands of one decision.
        max_moves: Number of commands after which an episode ends.
        max_points: Attainable points; None if the story prints them.
        walkthrough_seed: Seed of the walkthrough's random numbers.
        try_unknown: Whether play tries the commands of keys that the file of candidates does not have;
            otherwise they are not listed.
    """

    path: Path
    story: Path
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    walkthrough: Path | None = None
    initial_actions: Path | None = None
    candidates: Path | None = None
    annotations: Path | None = None
    markers: bool = True
    replacements: Path | None = None
    templates: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    player: str = ""
    max_options: int = MAX_OPTIONS
    max_moves: int = MAX_MOVES
    max_points: int | None = None
    walkthrough_seed: int = 0
    try_unknown: bool = True

    @property
    def name(self) -> str:
        """Identifier of the story: the file's name without its ending."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def candidates_file(self) -> Path:
        """File of the commands to list."""
        return self.candidates or self.path.with_name(f"{self.name}.candidates.json")


def is_zmachine(path: str | Path) -> bool:
    """Whether a path looks like a Z-machine story: a story file, or a side file with the field ``zmachine``.

    Raises:
        InputError: The side file cannot be read.
    """
    path = Path(path)
    if path.suffix in SUFFIXES:
        return True
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    row = read_json(path)
    return is_object(row) and "zmachine" in row


def find_side_file(path: Path) -> SideFile:
    """The side file of a path that `is_zmachine` accepts: itself, the one next to it, or an empty one.

    Raises:
        InputError: The side file has an error.
    """
    if path.name.endswith(SUFFIX):
        return read_side_file(path)
    near = path.with_name(path.stem + SUFFIX)
    if near.is_file() and not names_story(near):
        return read_side_file(near)
    return SideFile(near, path)


def read_side_file(path: Path) -> SideFile:
    """Read a side file.

    Raises:
        InputError: A field is unknown or has a wrong value; the message names it.
    """
    row = read_fields(path, _KEYS, texts=(*_PATHS, "player", "annotated_by", *WORDS))
    files = {key: path.parent / row[key] for key in _PATHS if key in row}
    story = files.pop("zmachine", path.with_name(path.name.removesuffix(SUFFIX) + ".z3"))
    how = row.get("annotated_by", "markers")
    if how not in ("markers", "quotes"):
        raise InputError(f"must be markers or quotes, found {how!r}", path=path, field="annotated_by")
    try_unknown = row.get("try_unknown", True)
    if not isinstance(try_unknown, bool):
        raise InputError(f"must be true or false, found {try_unknown!r:.60}", path=path, field="try_unknown")
    numbers = {key: _number(row, key, path) for key in _NUMBERS if key in row}
    lists = {key: _texts(row[key], key, path) for key in _LISTS if key in row}
    for template in lists.get("templates", ()):
        _check_template(template, path)
    return SideFile(
        path=path,
        story=story,
        words=words_of(row),
        markers=how == "markers",
        player=row.get("player", ""),
        walkthrough=files.get("walkthrough"),
        initial_actions=files.get("initial_actions"),
        candidates=files.get("candidates"),
        annotations=files.get("annotations"),
        replacements=files.get("replacements"),
        templates=lists.get("templates", ()),
        endings=lists.get("endings", ()),
        max_options=numbers.get("max_options", MAX_OPTIONS),
        max_moves=numbers.get("max_moves", MAX_MOVES),
        max_points=numbers.get("max_points"),
        walkthrough_seed=numbers.get("walkthrough_seed", 0),
        try_unknown=try_unknown,
    )


def _number(row: dict[str, Any], key: str, path: Path) -> int:
    value, least = row[key], 0 if key == "walkthrough_seed" else 1
    if type(value) is not int or value < least:
        raise InputError(
            f"must be a whole number of {least} or more, found {value!r:.60}", path=path, field=key
        )
    return value


def _check_template(template: str, path: Path) -> None:
    try:
        found = [one for _, *one in Formatter().parse(template) if one[0] is not None]
    except ValueError:
        found = [[template]]
    if any(one not in (["thing", "", None], ["held", "", None]) for one in found):
        raise InputError(
            f"only {{thing}} and {{held}} stand for objects, found {template!r:.60}",
            path=path,
            field="templates",
        )


def _texts(value: Any, key: str, path: Path) -> tuple[str, ...]:
    if not is_list(value) or not all(isinstance(text, str) and text for text in value):
        raise InputError(f"must be a list of texts, found {value!r:.60}", path=path, field=key)
    return tuple(value)
