"""Reading and checking of the files in MACHIAVELLI's ``game_data`` folder.

Source: Pan et al. 2023, "Do the rewards justify the means?", and its published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.core.jsonl import is_list, is_object
from pluralign.games.machiavelli.counts import check_annotation

METADATA = "game_metadata.json"
COEFFICIENTS = "normalization_coeffs.json"

CONDITION = "COND"
NODE_TYPES = ("CHOICE", CONDITION, "OTHER")

_DEEPEST = 10_000
"""Largest indentation of a line, in spaces."""

_NEVER_LISTED = "Return to the start of this chapter."
"""Option that MACHIAVELLI's environment never lists."""


@dataclass(frozen=True)
class Source:
    """The scenes of a game.

    Args:
        scenes: Text of the scenes, by name in lower case; a line of the file is a line of the text.
        scene_list: Names of the scenes, in order.
        title: Title of the game.
        author: Author of the game.
    """

    scenes: Mapping[str, str]
    scene_list: tuple[str, ...]
    title: str
    author: str


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A stretch of lines that is annotated as one scene.

    Args:
        scene: Name of the scene, in lower case.
        kind: Type of the node, one of `NODE_TYPES`.
        lines: Numbers of the lines in the scene, from 0.
    """

    scene: str
    kind: str
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Metadata:
    """Descriptions of a game.

    Args:
        words: Name, summary, short_summary and player_character.
        achievements: ``description`` and ``points`` of each achievement, by name.
    """

    words: Mapping[str, str]
    achievements: Mapping[str, Mapping[str, Any]]


def read_source(path: Path) -> Source:
    """Read ``source/GAME.json``.

    Raises:
        InputError: A field is missing or has a wrong value; the message names it.
    """
    row = _Field(path, read_json(path))
    scenes: dict[str, str] = {}
    for name, scene in row["scenes"].entries():
        if name.lower() in scenes:
            raise scene.error("there are two scenes of this name")
        scenes[name.lower()] = "\n".join(_line(line) for line in scene.items())
    words = row["metadata"]
    return Source(
        scenes=scenes,
        scene_list=tuple(name.text().lower() for name in row["scene_list"].items()),
        title=words["title"].text(),
        author=words["author"].text(),
    )


def read_tree(path: Path) -> dict[str, TreeNode]:
    """Read ``trees/GAME_game_tree.json``: the nodes by name.

    Raises:
        InputError: A field is missing or has a wrong value; the message names it.
    """
    nodes: dict[str, TreeNode] = {}
    for name, node in _Field(path, read_json(path)).entries():
        kind = node["type"].text()
        if kind not in NODE_TYPES:
            raise node["type"].error(f"must be one of {', '.join(NODE_TYPES)}")
        lines = tuple(line.whole() for line in node["lines"].items())
        nodes[name] = TreeNode(node["scene"].text().lower(), kind, lines)
    return nodes


def read_annotations(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read ``annotations_clean/GAME.json``: the annotations by name of the node.

    Raises:
        InputError: A field is missing or has a wrong value; the message names it.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name, scene in _Field(path, read_json(path))["scenes"].entries():
        try:
            found[name] = check_annotation(scene.value)
        except InputError as error:
            where = f"{scene.name}.{error.field}" if error.field else scene.name
            raise InputError(error.message, path=path, field=where) from None
    return found


def _line(line: _Field) -> str:
    if not is_list(line.value) or len(line.value) != 2:
        raise line.error("must be a line's text and its indentation")
    text, indentation = line.items()
    written = text.text()
    if "\n" in written:
        raise text.error("must be one line")
    if written.partition("#")[2] == _NEVER_LISTED:
        written = f"*if (false) #{_NEVER_LISTED}"
    spaces = indentation.whole()
    if spaces > _DEEPEST:
        raise indentation.error(f"must be {_DEEPEST} or less")
    return " " * spaces + written.strip()


@dataclass(frozen=True, slots=True)
class _Field:
    """A value in a JSON file and its place, for error messages."""

    path: Path
    value: Any
    name: str = ""

    def error(self, message: str) -> InputError:
        return InputError(f"{message}, found {self.value!r:.60}", path=self.path, field=self.name or None)

    def __getitem__(self, key: str) -> _Field:
        if not is_object(self.value):
            raise self.error("must be an object")
        name = f"{self.name}.{key}" if self.name else key
        if key not in self.value:
            raise InputError("is missing", path=self.path, field=name)
        return _Field(self.path, self.value[key], name)

    def entries(self) -> Iterator[tuple[str, _Field]]:
        if not is_object(self.value):
            raise self.error("must be an object")
        for key in self.value:
            yield key, self[key]

    def items(self) -> Iterator[_Field]:
        if not is_list(self.value):
            raise self.error("must be a list")
        for index, item in enumerate(self.value):
            yield _Field(self.path, item, f"{self.name}[{index}]")

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("must be a string")
        return self.value

    def whole(self) -> int:
        if type(self.value) is not int or self.value < 0:
            raise self.error("must be a whole number of 0 or more")
        return self.value


class MetadataFile:
    """``game_metadata.json``; the part of a game is checked when it is requested.

    Args:
        path: Path of the file; a missing file describes no games.

    Raises:
        InputError: The file is not a JSON object.
    """

    def __init__(self, path: Path) -> None:
        self._root = _Field(path, read_json(path) if path.is_file() else {})
        self.games = frozenset(name for name, _ in self._root.entries())

    def of(self, game: str) -> Metadata | None:
        """Metadata of a game; None if the file does not describe it.

        Raises:
            InputError: A field is missing or has a wrong value; the message names it.
        """
        if game not in self.games:
            return None
        facts = self._root[game]
        words = {key: facts[key].text() for key in ("name", "summary", "short_summary", "player_character")}
        achievements = {
            name.lower(): {"description": body["description"].text(), "points": body["points"].whole()}
            for name, body in facts["achievements"].entries()
        }
        return Metadata(words, achievements)
