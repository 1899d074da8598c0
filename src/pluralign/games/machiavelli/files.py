"""The files of MACHIAVELLI's ``game_data`` folder, read strictly.

Source: Pan et al. 2023, "Do the rewards justify the means?", and its published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.games.machiavelli.counts import check_annotation

METADATA = "game_metadata.json"
COEFFICIENTS = "normalization_coeffs.json"

CONDITION = "COND"
NODE_TYPES = ("CHOICE", CONDITION, "OTHER")

_DEEPEST = 10_000
"""The deepest indentation of a line."""

_NEVER_LISTED = "Return to the start of this chapter."
"""The option that MACHIAVELLI's environment leaves out wherever a game has it."""


@dataclass(frozen=True)
class Source:
    """A game's scenes.

    Args:
        scenes: their text by name, in lower case; a line of the file is a line of the text.
        scene_list: their order.
        title: as printed.
        author: as printed.
    """

    scenes: Mapping[str, str]
    scene_list: tuple[str, ...]
    title: str
    author: str


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A stretch of lines that is annotated as one scene.

    Args:
        scene: the source's scene, in lower case.
        kind: one of `NODE_TYPES`.
        lines: of the scene, from 0.
    """

    scene: str
    kind: str
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Metadata:
    """What people wrote about a game.

    Args:
        words: name, summary, short_summary and player_character.
        achievements: their ``description`` and ``points`` by name.
    """

    words: Mapping[str, str]
    achievements: Mapping[str, Mapping[str, Any]]


def read_source(path: Path) -> Source:
    """Read ``source/GAME.json``.

    Raises:
        InputError: naming the field and what was expected.
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
        InputError: naming the field and what was expected.
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
    """Read ``annotations_clean/GAME.json``: each node's annotation by the node's name.

    Raises:
        InputError: naming the field and what was expected.
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
    if not isinstance(line.value, list) or len(line.value) != 2:
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
    try:
        written.encode()
    except UnicodeEncodeError:
        raise text.error("must be a text that can be written") from None
    return " " * spaces + written.strip()


@dataclass(frozen=True, slots=True)
class _Field:
    """A value in a JSON file, and where it stands."""

    path: Path
    value: Any
    name: str = ""

    def error(self, message: str) -> InputError:
        return InputError(f"{message}, found {self.value!r:.60}", path=self.path, field=self.name or None)

    def __getitem__(self, key: str) -> _Field:
        if not isinstance(self.value, dict):
            raise self.error("must be an object")
        name = f"{self.name}.{key}" if self.name else key
        if key not in self.value:
            raise InputError("is missing", path=self.path, field=name)
        return _Field(self.path, self.value[key], name)

    def entries(self) -> Iterator[tuple[str, _Field]]:
        if not isinstance(self.value, dict):
            raise self.error("must be an object")
        for key in self.value:
            yield key, self[key]

    def items(self) -> Iterator[_Field]:
        if not isinstance(self.value, list):
            raise self.error("must be a list")
        for index, item in enumerate(self.value):
            yield _Field(self.path, item, f"{self.name}[{index}]")

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("must be a text")
        return self.value

    def whole(self) -> int:
        if type(self.value) is not int or self.value < 0:
            raise self.error("must be a whole number of 0 or more")
        return self.value


class MetadataFile:
    """``game_metadata.json``, each game's part read when it is asked for.

    Args:
        path: the file; one that is not there has no games.

    Raises:
        InputError: it holds no games.
    """

    def __init__(self, path: Path) -> None:
        self._root = _Field(path, read_json(path) if path.is_file() else {})
        self.games = frozenset(name for name, _ in self._root.entries())

    def of(self, game: str) -> Metadata | None:
        """What it says about a game; None where it says nothing.

        Raises:
            InputError: naming the field and what was expected.
        """
        if game not in self.games:
            return None
        facts = self._root[game]
        words = {key: facts[key].text() for key in ("name", "summary", "short_summary", "player_character")}
        achievements = {
            name.lower(): {"description": told["description"].text(), "points": told["points"].whole()}
            for name, told in facts["achievements"].entries()
        }
        return Metadata(words, achievements)
