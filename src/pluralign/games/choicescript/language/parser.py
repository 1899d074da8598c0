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

CONTINUATIONS = frozenset({"else", "elseif", "elsif"})
"""Commands that continue an ``*if``."""

CONDITIONS = frozenset({"if", *CONTINUATIONS})
"""Commands that open a block with a condition."""


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
        spaced: Whether spaces end the line.
    """

    path: str
    line: int
    indent: int
    command: str
    data: str
    block: list[Node] = field(default_factory=list["Node"])
    spaced: bool = False

    def error(self, message: str, *, name: str | None = None) -> InputError:
        """An error at this line."""
        return InputError(message, path=self.path, row=self.line, field=name)

    @property
    def is_option(self) -> bool:
        """Whether the line is an option, with or without commands before it."""
        if self.command == OPTION:
            return True
        return self.command in OPTION_PREFIXES and option_start(self.data) >= 0

    @property
    def is_empty(self) -> bool:
        """Whether no lines but blank ones are indented under it."""
        return all(node.command == BLANK for node in self.block)


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
    """A block that is still open.

    Args:
        indent: Number of characters that indent it.
        nodes: Its lines so far.
        owner: Command that opened it.
        groups: Number of groups of options that it lists, with those under them; 0 if it lists none.
    """

    indent: int
    nodes: list[Node]
    owner: str = ""
    groups: int = 0

    def opens_option(self, node: Node) -> bool:
        """Whether a line of the block is an option; ``*print`` may compute one among options."""
        return node.is_option or (self.groups > 0 and node.command == "print")

    def groups_under(self, owner: Node) -> int:
        """`groups` of the block under one of its lines."""
        if owner.command in ("choice", "fake_choice"):
            return max(1, len(owner.data.split()))
        if self.opens_option(owner):
            return max(0, self.groups - 1)
        return self.groups if owner.command in CONDITIONS else 0


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
        node = self._node(number, self._indent(number, raw), raw, stripped)
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

    def _node(self, number: int, indent: int, raw: str, stripped: str) -> Node:
        if stripped.startswith("#"):
            return Node(self.path, number, indent, OPTION, stripped[1:].strip())
        match = _COMMAND.match(stripped)
        if match is None:
            return Node(self.path, number, indent, TEXT, stripped, spaced=raw.rstrip("\r\n")[-1:].isspace())
        return Node(self.path, number, indent, match.group(1).lower(), match.group(2).strip())

    def _owner(self, top: _Block) -> Node | None:
        """The line that a deeper one belongs to."""
        for node in reversed(top.nodes):
            # A comment ends the block above it in play, but not where a condition or choice passes the block.
            if node.command not in ("comment", BLANK):
                passes = node.command in CONDITIONS or top.opens_option(node)
                return node if node is top.nodes[-1] or (passes and not self.strict) else top.nodes[-1]
        return top.nodes[-1] if top.nodes else None

    def _deeper(self, node: Node) -> None:
        top = self.open[-1]
        owner = self._owner(top)
        # Lines under a line of a *stat_chart, and those under them, belong to it.
        chart = top.owner == "stat_chart"
        owns = owner is not None and (owner.command in _OWNERS or top.opens_option(owner) or chart)
        if owner is not None and owns and len(self.open) < DEEPEST_BLOCK:
            if owner is not top.nodes[-1] and node.command != "comment":
                self.faults.append(
                    f"indented by {node.indent}, expected {top.indent}: a comment ends the block"
                )
            kind = top.owner if chart else owner.command
            self.open.append(_Block(node.indent, owner.block, kind, top.groups_under(owner)))
        elif owns:
            self.faults.append(f"blocks are nested more than {DEEPEST_BLOCK} deep")
        # The official engine ignores the indentation of comments only.
        elif node.command != "comment":
            self.faults.append(
                f"indented by {node.indent}, expected {top.indent}: nothing opens a block here"
            )
            # The lines after it are not reported again.
            self.open.append(_Block(node.indent, top.nodes, top.owner, top.groups))
        self._append(self.open[-1].nodes, node)

    def _same_or_shallower(self, node: Node) -> None:
        while self.open[-1].indent > node.indent and (self.strict or self.open[-2].indent >= node.indent):
            self.open.pop()
        if self.strict and self.open[-1].indent != node.indent:
            self.faults.append(f"indented by {node.indent}, which matches no open block")
        if self.blank is not None and (node.command in CONTINUATIONS or self.open[-1].groups):
            # Play passes it only when it falls out of the block above.
            self._last_block(self.open[-1]).append(self.blank)
            self.blank = None
        self._append(self.open[-1].nodes, node)

    def _last_block(self, top: _Block) -> list[Node]:
        """The block under the branch or option above."""
        block, groups = top.nodes, top.groups
        while True:
            above = next((n for n in reversed(block) if n.command not in ("comment", BLANK, FAULT)), None)
            option = above is not None and (above.is_option or (groups > 0 and above.command == "print"))
            if above is None or not (option or above.command in CONDITIONS):
                return block
            groups -= option
            block = above.block
            if groups == 0:
                return block

    def _append(self, block: list[Node], node: Node) -> None:
        if self.blank is not None:
            block.append(self.blank)
            self.blank = None
        if self.faults:
            block.extend(Node(self.path, node.line, node.indent, FAULT, message) for message in self.faults)
            self.faults = []
        block.append(node)
