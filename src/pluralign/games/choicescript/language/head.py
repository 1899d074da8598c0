"""The head of ``startup.txt``: title, variables, achievements, the list of scenes, the story's header."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pluralign.core import InputError, Objective
from pluralign.games.choicescript.language.expressions import parse, parse_values
from pluralign.games.choicescript.language.parser import BLANK, FAULT, TEXT, Node
from pluralign.games.choicescript.language.syntax import Expression, ExpressionError, Literal
from pluralign.games.choicescript.language.values import Value
from pluralign.games.harms import BUILTIN_OBJECTIVES, METRICS

HEAD_COMMANDS = frozenset({"title", "author", "create", "create_array", "scene_list", "achievement"})
"""Commands that stand in the head and nowhere else."""

MOST_ELEMENTS = 10_000
"""The most elements that an array can have."""

MOST_POINTS = 100
"""The most that one achievement can be worth (official engine)."""

MOST_POINTS_TOGETHER = 1000
"""The most that all achievements can be worth together (official engine)."""

_COMMENT = re.compile(r"pluralign\b\s*(.*)", re.DOTALL)
_ACHIEVEMENT = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(.*)")
_NAME = re.compile(r"[A-Za-z]\w*\Z")
_RESERVED = frozenset({"and", "or", "not", "modulo", "true", "false", "scene", "scenename"})


@dataclass(frozen=True, slots=True)
class Achievement:
    """A declared achievement."""

    name: str
    title: str
    points: int
    path: str
    line: int


@dataclass
class Head:
    """What the head declares.

    Args:
        strict: whether a broken rule refuses the story; else it is noted in ``broken``, and play goes on.
    """

    strict: bool = True
    broken: list[InputError] = field(default_factory=list[InputError])
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
        """All achievements' points together."""
        return sum(achievement.points for achievement in self.achievements.values())

    @property
    def implicit_control_flow(self) -> bool:
        """Whether play may fall out of options and into ``*else``."""
        return self.variables.get("implicit_control_flow") == "true"

    def read(self, node: Node) -> None:
        """Take in one line of the head.

        Raises:
            InputError: it declares nothing that can be used.
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
                self._variable(node, name, value or Literal(""))
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
            self._rule(node, f"achievement name {name!r} must be lower case letters, digits and underscores")
        # Play asks for it in lower case, whatever the case that it is written in.
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
            self._rule(node, f"a title has 50 characters or fewer, found {len(title)}")
        if any(title == other.title for other in self.achievements.values()):
            self._rule(node, f"two achievements have the title {title!r}")
        for message in _bad_descriptions(node, visibility):
            self._rule(node, message)
        together = self.max_points + int(points)
        if together > MOST_POINTS_TOGETHER:
            self._rule(
                node,
                f"all achievements together may be worth {MOST_POINTS_TOGETHER} points; "
                f"with this one they are worth {together}",
            )
        self.achievements[name] = Achievement(name, title, int(points), node.path, node.line)

    def _rule(self, node: Node, message: str) -> None:
        """A rule of the official engine is broken that play does not rest on."""
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
                raise line.error(line.data if line.command == FAULT else "expected a scene's name alone")
        # A dollar sign before its name line_annotations a scene that is sold.
        names = [line.data.lower().split()[-1] for line in lines]
        if not names:
            raise node.error("expected the scenes' names, indented, one on a line")
        if len(set(names)) < len(names):
            self._rule(node, "a scene is listed twice")
            names = list(dict.fromkeys(names))
        self.scenes = names if names[0] == "startup" else ["startup", *names]

    def _story(self, node: Node, note: dict[str, Any]) -> None:
        story = note.get("story")
        if not isinstance(story, dict) or len(note) != 1:
            raise node.error('the head takes {"story": {...}} alone; annotations belong into options')
        for key, value in cast("dict[str, Any]", story).items():
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
        yield "expected two indented lines: the text before it is earned, and after"
    if any(len(line) > 200 or "${" in line or "[" in line for line in lines):
        yield "a description has 200 characters or fewer, without ${} and []"
    if visibility == "hidden" and (len(lines) < 2 or lines[0].lower() != "hidden"):
        yield "a hidden achievement has 'hidden' as its first line and a second one"


def _objectives(node: Node, found: Any) -> tuple[Objective, ...]:
    if not isinstance(found, dict):
        raise node.error("must be an object from names to objectives", name="story.objectives")
    taken = {objective.name for objective in BUILTIN_OBJECTIVES}
    objectives: list[Objective] = []
    for name, body in cast("dict[str, Any]", found).items():
        where = f"story.objectives.{name}"
        if name in taken:
            raise node.error("is the name of a built-in objective", name=where)
        if not isinstance(body, dict) or set(cast("dict[str, Any]", body)) != {"description", "coefficients"}:
            raise node.error("must have 'description' and 'coefficients'", name=where)
        definition = cast("dict[str, Any]", body)
        try:
            objectives.append(
                Objective(name, str(definition["description"]), _coefficients(node, definition, where))
            )
        except InputError as error:
            raise error if error.path else node.error(error.message, name=where) from None
    return tuple(objectives)


def _coefficients(node: Node, body: Mapping[str, Any], where: str) -> dict[str, float]:
    found = body["coefficients"]
    if not isinstance(found, dict) or not found:
        raise node.error("must be an object from counts to numbers", name=f"{where}.coefficients")
    coefficients = cast("dict[str, Any]", found)
    for metric, value in coefficients.items():
        if metric not in METRICS:
            raise node.error(
                f"unknown count; known: {', '.join(METRICS)}", name=f"{where}.coefficients.{metric}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise node.error(f"must be a number, found {value!r}", name=f"{where}.coefficients.{metric}")
    return {metric: float(value) for metric, value in coefficients.items()}


def check_name(node: Node, name: str) -> str:
    """A variable's name in lower case.

    Raises:
        InputError: it cannot be one.
    """
    if not _NAME.match(name):
        raise node.error(
            f"a variable's name is a letter, then letters, digits and underscores; found {name!r}"
        )
    if name.lower() in _RESERVED or name.lower().startswith("choice_"):
        raise node.error(f"'{name}' is reserved and names no variable")
    return name.lower()


def array_values(node: Node) -> Iterator[tuple[str, Expression | None]]:
    """The variables of an array, with what they begin as: ``NAME SIZE [VALUE...]``.

    One value is every element's; none leaves them without one.

    Raises:
        InputError: the size is no whole number, or does not fit the values.
        ExpressionError: the values cannot be read.
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
    """What a ``*comment pluralign {...}`` says; None for any other comment.

    Raises:
        InputError: it says no JSON object.
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
    if not isinstance(note, dict):
        raise node.error(f"expected an object, found {note!r}")
    return cast("dict[str, Any]", note)
