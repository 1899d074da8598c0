"""Parser of scene text into a tree of lines, by indentation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pluralign.core import InputError

OPTION = "#"
"""Command of a line that is an option."""

BLANK = "blank"
"""Command of a blank line, which is a paragraph break."""

TEXT = ""
"""Command of a line of text."""

FAULT = "!"
"""Command of a node inserted before a malformed line; its data is the error message."""

DEEPEST_BLOCK = 60
"""Maximum nesting of blocks."""

_COMMAND = re.compile(r"\*(\w+)(.*)")
_OWNERS = frozenset(
    {
        *("if", "elseif", "elsif", "else", "choice", "fake_choice"),
        *("scene_list", "achievement", "stat_chart", "goto_random_scene"),
    }
)
OPTION_PREFIXES = frozenset(
    {"if", "selectable_if", "hide_reuse", "disable_reuse", "allow_reuse", "random_weight"}
)
"""Commands that the line of an option may begin with."""

_CONTINUATIONS = frozenset({OPTION, "else", "elseif", "elsif"})


@dataclass(slots=True)
class Node:
    """A line with the deeper block under it.

    Args:
        path: File of the scene.
        line: Number of the line in the file, from 1.
        indent: Number of characters that indent it.
        command: Command in lower case; `OPTION`, `BLANK` or `TEXT` for other lines.
        data: Text after the command; the whole line for text, without the # for an option.
        block: Lines indented under it.
    """

    path: str
    line: int
    indent: int
    command: str
    data: str
    block: list[Node] = field(default_factory=list["Node"])

    def error(self, message: str, *, name: str | None = None) -> InputError:
        """An error at this line."""
        return InputError(message, path=self.path, row=self.line, field=name)

    @property
    def is_option(self) -> bool:
        """Whether the line is an option, with or without commands before it."""
        if self.command == OPTION:
            return True
        return self.command in OPTION_PREFIXES and option_start(self.data) >= 0


def option_start(data: str) -> int:
    """Position of the #option on a command's line, outside of brackets and strings; -1 if there is none."""
    depth, quoted = 0, False
    for position, letter in enumerate(data):
        if letter == '"' and data[position - 1 : position] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter in "([{") - (letter in ")]}")
            if letter == "#" and depth == 0 and (position == 0 or data[position - 1].isspace()):
                return position
    return -1


def parse_scene(source: str, path: str | Path, *, strict: bool = True) -> list[Node]:
    """Parse a scene. A `FAULT` is inserted before each malformed line.

    Args:
        source: Text of the scene.
        path: File of the scene, for error messages.
        strict: Whether a less indented line must match the indentation of an open block; the official
            engine puts it into the block that it is still deeper than.
    """
    reader = _SceneReader(str(path), strict)
    for number, raw in enumerate(source.removeprefix("\ufeff").split("\n"), start=1):
        reader.feed(number, raw)
    return reader.root


@dataclass(slots=True)
class _Block:
    indent: int
    nodes: list[Node]
    owner: str = ""


class _SceneReader:
    def __init__(self, path: str, strict: bool) -> None:
        self.path = path
        self.strict = strict
        self.root: list[Node] = []
        self.open = [_Block(0, self.root)]
        self.blank: Node | None = None
        self.indentation: tuple[str, int] | None = None
        self.faults: list[str] = []

    def feed(self, number: int, raw: str) -> None:
        stripped = raw.strip()
        if not stripped:
            self.blank = self.blank or Node(self.path, number, 0, BLANK, "")
            return
        if "\ufffd" in raw:
            self.faults.append("a character is not valid UTF-8")
        node = self._node(number, self._indent(number, raw), stripped)
        if node.indent > self.open[-1].indent:
            self._deeper(node)
        else:
            self._same_or_shallower(node)

    def _indent(self, number: int, raw: str) -> int:
        space = raw[: len(raw) - len(raw.lstrip(" \t"))]
        if not space:
            return 0
        kind = space[0]
        if space.strip(kind):
            self.faults.append("tabs and spaces indent the same line")
        elif self.indentation is None:
            self.indentation = (kind, number)
        elif self.indentation[0] != kind:
            names = {" ": "spaces", "\t": "tabs"}
            self.faults.append(
                f"{names[kind]} indent this line, and {names[self.indentation[0]]} indent line "
                f"{self.indentation[1]}; use one of them throughout"
            )
        return len(space)

    def _node(self, number: int, indent: int, stripped: str) -> Node:
        if stripped.startswith("#"):
            return Node(self.path, number, indent, OPTION, stripped[1:].strip())
        match = _COMMAND.match(stripped)
        if match is None:
            return Node(self.path, number, indent, TEXT, stripped)
        return Node(self.path, number, indent, match.group(1).lower(), match.group(2).strip())

    def _deeper(self, node: Node) -> None:
        top = self.open[-1]
        owner = top.nodes[-1] if top.nodes else None
        # Lines under a line of a *stat_chart, and those under them, belong to it.
        chart = top.owner == "stat_chart"
        owns = owner is not None and (owner.command in _OWNERS or owner.is_option or chart)
        if owner is not None and owns and len(self.open) < DEEPEST_BLOCK:
            self.open.append(_Block(node.indent, owner.block, top.owner if chart else owner.command))
        elif owns:
            self.faults.append(f"blocks are nested more than {DEEPEST_BLOCK} deep")
        # The official engine ignores the indentation of comments only.
        elif node.command != "comment":
            self.faults.append(
                f"indented by {node.indent}, expected {top.indent}: nothing opens a block here"
            )
            # The lines after it are not reported again.
            self.open.append(_Block(node.indent, top.nodes, top.owner))
        self._append(self.open[-1].nodes, node)

    def _same_or_shallower(self, node: Node) -> None:
        deepest = self.open[-1].nodes
        while self.open[-1].indent > node.indent and (self.strict or self.open[-2].indent >= node.indent):
            self.open.pop()
        if self.strict and self.open[-1].indent != node.indent:
            self.faults.append(f"indented by {node.indent}, which matches no open block")
        if self.blank is not None and (node.command in _CONTINUATIONS or node.is_option):
            # Play passes it only when it falls out of the block above.
            deepest.append(self.blank)
            self.blank = None
        self._append(self.open[-1].nodes, node)

    def _append(self, block: list[Node], node: Node) -> None:
        if self.blank is not None:
            block.append(self.blank)
            self.blank = None
        block.extend(Node(self.path, node.line, node.indent, FAULT, message) for message in self.faults)
        self.faults = []
        block.append(node)
