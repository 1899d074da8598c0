"""The head of ``startup.txt``: title, variables, achievements, list of scenes and the story's description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pluralign.core import InputError, Objective
from pluralign.core.jsonl import is_object
from pluralign.games.choicescript.language.expressions import parse, parse_values
from pluralign.games.choicescript.language.parser import BLANK, FAULT, TEXT, Node
from pluralign.games.choicescript.language.syntax import Expression, ExpressionError, Literal
from pluralign.games.choicescript.language.values import Value
from pluralign.games.harms import read_objectives

HEAD_COMMANDS = frozenset({"title", "author", "create", "create_array", "scene_list", "achievement"})
"""Commands that belong in the head."""

MOST_ELEMENTS = 10_000
"""Largest size of an array."""

MOST_POINTS = 100
"""Largest number of points of an achievement (official engine)."""

MOST_POINTS_TOGETHER = 1000
"""Largest sum of the points of all achievements (official engine)."""

_COMMENT = re.compile(r"pluralign\b\s*(.*)", re.DOTALL)
_ACHIEVEMENT = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(.*)")
_NAME = re.compile(r"[A-Za-z]\w*\Z")
_RESERVED = frozenset({"and", "or", "not", "modulo", "true", "false", "scene", "scenename"})


@dataclass(frozen=True, slots=True)
class Achievement:
    """A declared achievement.

    Args:
        name: Name, in lower case.
        title: Title to print.
        points: Points it is worth.
        path: File of the declaration.
        line: Line of the declaration, from 1.
    """

    name: str
    title: str
    points: int
    path: str
    line: int


@dataclass
class Head:
    """Declarations of the head.

    Args:
        strict: Whether a violated rule of the official engine refuses the story.
        broken: Violated rules of a story that is not strict.
        spaced: Whether it has blank lines, which end the paragraph where play returns to it.
    """

    strict: bool = True
    broken: list[InputError] = field(default_factory=list[InputError])
    spaced: bool = False
    title: str = ""
    author: str = ""
    summary: str = ""
    player_character: str = ""
    objectives: tuple[Objective, ...] = ()
    variables: dict[str, Value] = field(default_factory=dict[str, Value])
    achievements: dict[str, Achievement] = field(default_factory=dict[str, Achievement])
    scenes: list[str] = field(default_factory=list[str])

    @property
    def max_points(self) -> int:
        """Sum of the points of all achievements."""
        return sum(achievement.points for achievement in self.achievements.values())

    def read(self, node: Node) -> None:
        """Read one line of the head.

        Raises:
            InputError: The declaration is malformed.
        """
        match node.command:
            case "title":
                self.title = node.data
            case "author":
                self.author = node.data
            case "create":
                self._create(node)
            case "create_array":
                self._create_array(node)
            case "achievement":
                self._achievement(node)
            case "scene_list":
                self._scene_list(node)
            case "product" | "ifid":
                pass
            case _:
                note = pluralign_note(node)
                if note is not None:
                    self._story(node, note)

    def _create(self, node: Node) -> None:
        name, _, source = node.data.partition(" ")
        name = check_name(node, name)
        try:
            value = parse(source)
        except ExpressionError as error:
            raise node.error(str(error)) from None
        self._variable(node, name, value)

    def _create_array(self, node: Node) -> None:
        try:
            for name, value in array_values(node):
                if value is None:
                    raise node.error(f"expected a value for the elements, found {node.data!r}")
                self._variable(node, name, value)
        except ExpressionError as error:
            raise node.error(str(error)) from None

    def _variable(self, node: Node, name: str, value: Expression) -> None:
        if name in self.variables:
            raise node.error(f"variable '{name}' is created twice")
        if not isinstance(value, Literal):
            raise node.error(
                f"a variable begins as a number, true, false or a quoted string; found {node.data!r}"
            )
        self.variables[name] = value.value

    def _achievement(self, node: Node) -> None:
        match = _ACHIEVEMENT.match(node.data)
        if match is None:
            raise node.error("expected *achievement NAME visible|hidden POINTS TITLE")
        name, visibility, points, title = match.groups()
        if not re.fullmatch(r"[a-z][a-z0-9_]+", name):
            self._rule(
                node, f"achievement name {name!r} must consist of lower-case letters, digits and underscores"
            )
        # Play looks it up in lower case.
        name = name.lower()
        if name in self.achievements:
            raise node.error(f"achievement '{name}' is declared twice")
        if visibility not in ("visible", "hidden"):
            raise node.error(f"expected visible or hidden, found {visibility!r}")
        if not re.fullmatch(r"[0-9]{1,9}", points):
            raise node.error(f"points must be a whole number from 1 to {MOST_POINTS}, found {points!r}")
        if not 1 <= int(points) <= MOST_POINTS:
            self._rule(node, f"points must be a whole number from 1 to {MOST_POINTS}, found {points!r}")
        if len(title) > 50:
            self._rule(node, f"a title must have 50 characters or fewer, found {len(title)}")
        if any(title == other.title for other in self.achievements.values()):
            self._rule(node, f"two achievements have the title {title!r}")
        for message in _bad_descriptions(node, visibility):
            self._rule(node, message)
        together = self.max_points + int(points)
        if together > MOST_POINTS_TOGETHER:
            self._rule(
                node,
                f"all achievements together may be worth at most {MOST_POINTS_TOGETHER} points; "
                f"with this one they are worth {together}",
            )
        self.achievements[name] = Achievement(name, title, int(points), node.path, node.line)

    def _rule(self, node: Node, message: str) -> None:
        """Report a violated rule of the official engine that does not affect play."""
        error = node.error(message)
        if self.strict:
            raise error
        self.broken.append(error)

    def _scene_list(self, node: Node) -> None:
        if self.scenes:
            raise node.error("a second *scene_list")
        lines = [child for child in node.block if child.command != BLANK]
        for line in lines:
            if line.command != TEXT:
                raise line.error(line.data if line.command == FAULT else "expected only the name of a scene")
        # A dollar sign before a scene's name marks a scene that is sold.
        names = [line.data.lower().split()[-1] for line in lines]
        if not names:
            raise node.error("expected the names of the scenes, indented, one per line")
        if len(set(names)) < len(names):
            self._rule(node, "a scene is listed twice")
            names = list(dict.fromkeys(names))
        self.scenes = names if names[0] == "startup" else ["startup", *names]

    def _story(self, node: Node, note: dict[str, Any]) -> None:
        story = note.get("story")
        if not is_object(story) or len(note) != 1:
            raise node.error('the head takes only {"story": {...}}; annotations belong in options')
        for key, value in story.items():
            match key:
                case "summary" | "player_character":
                    if not isinstance(value, str) or not value.strip():
                        raise node.error(f"must be a sentence, found {value!r}", name=f"story.{key}")
                    setattr(self, key, value)
                case "objectives":
                    self.objectives = _objectives(node, value)
                case _:
                    raise node.error(
                        "unknown; expected summary, player_character or objectives", name=f"story.{key}"
                    )


def _bad_descriptions(node: Node, visibility: str) -> Iterator[str]:
    lines = [child.data for child in node.block if child.command != BLANK]
    if not 1 <= len(lines) <= 2:
        yield "expected two indented lines: the text before and after it is earned"
    if any(len(line) > 200 or "${" in line or "[" in line for line in lines):
        yield "a description must have 200 characters or fewer, without ${} and []"
    if visibility == "hidden" and (len(lines) < 2 or lines[0].lower() != "hidden"):
        yield "a hidden achievement needs 'hidden' as its first line, and a second line"


def _objectives(node: Node, found: Any) -> tuple[Objective, ...]:
    try:
        return read_objectives(found, "story.objectives")
    except InputError as error:
        raise node.error(error.message, name=error.field) from None


def check_name(node: Node, name: str) -> str:
    """Check a variable's name and return it in lower case.

    Raises:
        InputError: The name is malformed or reserved.
    """
    if not _NAME.match(name):
        raise node.error(
            f"a variable's name must be a letter, then letters, digits and underscores; found {name!r}"
        )
    if name.lower() in _RESERVED or name.lower().startswith("choice_"):
        raise node.error(f"'{name}' is a reserved name")
    return name.lower()


def array_values(node: Node) -> Iterator[tuple[str, Expression | None]]:
    """The variables of an array and their initial values, from ``NAME SIZE [VALUE...]``.

    A single value is that of all elements; without values the elements have none.

    Raises:
        InputError: The size is not a whole number, or does not fit the values.
        ExpressionError: The values are malformed.
    """
    name, size, *source = [*node.data.split(maxsplit=2), "", ""][:3]
    name = check_name(node, name)
    if not re.fullmatch(r"[0-9]{1,5}", size) or not 1 <= int(size) <= MOST_ELEMENTS:
        raise node.error(f"expected NAME and a size from 1 to {MOST_ELEMENTS}, found {node.data!r}")
    values = parse_values(source[0])
    if len(values) not in (0, 1, int(size)):
        raise node.error(f"expected one value, or {size}, found {len(values)}")
    for index in range(int(size)):
        yield f"{name}_{index + 1}", values[index if len(values) > 1 else 0] if values else None
    yield f"{name}_count", Literal(int(size))


def pluralign_note(node: Node) -> dict[str, Any] | None:
    """The object in ``*comment pluralign {...}``; None for any other line.

    Raises:
        InputError: The comment is not a JSON object.
    """
    match = _COMMENT.match(node.data) if node.command == "comment" else None
    if match is None:
        return None
    try:
        note = json.loads(match.group(1))
    except json.JSONDecodeError as error:
        raise node.error(
            f"not JSON: {error.msg} at character {error.pos + 1} of {match.group(1)!r}"
        ) from None
    if not is_object(note):
        raise node.error(f"expected an object, found {note!r}")
    return note
