"""Scene text to a tree of lines by their indentation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pluralign.core import InputError

OPTION = "#"
"""The command of a line that is an option."""

BLANK = "blank"
"""The command of a blank line: a paragraph break."""

TEXT = ""
"""The command of a line of prose."""

_COMMAND = re.compile(r"\*(\w+)(.*)")
_OWNERS = frozenset({"if", "elseif", "elsif", "else", "choice", "fake_choice", "scene_list", "achievement"})
_GUARDED = re.compile(r"\(.*\)\s+#\s*\S")
_UNGUARDED = re.compile(r"(\*(if|selectable_if)\s*\(.*\)\s+)?#\s*\S")
_INLINE_OPTION = {
    "if": _GUARDED,
    "selectable_if": _GUARDED,
    "hide_reuse": _UNGUARDED,
    "disable_reuse": _UNGUARDED,
    "allow_reuse": _UNGUARDED,
}
_CONTINUATIONS = frozenset({OPTION, "else", "elseif", "elsif"})


@dataclass(slots=True)
class Node:
    """A line with the deeper block under it.

    Args:
        path: the scene's file.
        line: its number in the file, from 1.
        command: in lower case; `OPTION`, `BLANK` and `TEXT` for lines that are none.
        data: what follows the command; the whole line for text, without the # for an option.
        block: the lines under it.
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
        """Whether the line holds an option, with or without commands before it."""
        if self.command == OPTION:
            return True
        pattern = _INLINE_OPTION.get(self.command)
        return pattern is not None and pattern.match(self.data) is not None


def parse_scene(source: str, path: str | Path) -> list[Node]:
    """Read a scene.

    Raises:
        InputError: tabs and spaces are mixed, or a line's indentation fits no block.
    """
    reader = _SceneReader(str(path))
    for number, raw in enumerate(source.removeprefix("\ufeff").splitlines(), start=1):
        reader.feed(number, raw)
    return reader.root


class _SceneReader:
    def __init__(self, path: str) -> None:
        self.path = path
        self.root: list[Node] = []
        self.open: list[tuple[int, list[Node]]] = [(0, self.root)]
        self.blank: Node | None = None
        self.indentation: tuple[str, int] | None = None

    def feed(self, number: int, raw: str) -> None:
        stripped = raw.strip()
        if "\ufffd" in raw:
            raise InputError("a character is not valid UTF-8", path=self.path, row=number)
        if not stripped:
            self.blank = self.blank or Node(self.path, number, 0, BLANK, "")
            return
        node = self._node(number, self._indent(number, raw), stripped)
        if node.indent > self.open[-1][0]:
            self._deeper(node)
        else:
            self._same_or_shallower(node)

    def _indent(self, number: int, raw: str) -> int:
        space = raw[: len(raw) - len(raw.lstrip(" \t"))]
        if not space:
            return 0
        kind = space[0]
        if space.strip(kind):
            raise InputError("tabs and spaces indent the same line", path=self.path, row=number)
        if self.indentation is None:
            self.indentation = (kind, number)
        elif self.indentation[0] != kind:
            names = {" ": "spaces", "\t": "tabs"}
            raise InputError(
                f"{names[kind]} indent this line, and {names[self.indentation[0]]} indent line "
                f"{self.indentation[1]}; use one of them throughout",
                path=self.path,
                row=number,
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
        top = self.open[-1][1]
        owner = top[-1] if top else None
        if owner is None or not (owner.command in _OWNERS or owner.is_option):
            # The official engine passes over a comment's indentation, and over nothing else's.
            if node.command == "comment":
                self._append(top, node)
                return
            raise node.error(
                f"indented by {node.indent}, expected {self.open[-1][0]}: nothing opens a block here"
            )
        self.open.append((node.indent, owner.block))
        self._append(owner.block, node)

    def _same_or_shallower(self, node: Node) -> None:
        deepest = self.open[-1][1]
        while self.open[-1][0] > node.indent:
            self.open.pop()
        if self.open[-1][0] != node.indent:
            raise node.error(f"indented by {node.indent}, which is no block that is open here")
        if self.blank is not None and (node.command in _CONTINUATIONS or node.is_option):
            # It is passed only by those who fall out of the block above.
            deepest.append(self.blank)
            self.blank = None
        self._append(self.open[-1][1], node)

    def _append(self, block: list[Node], node: Node) -> None:
        if self.blank is not None:
            block.append(self.blank)
            self.blank = None
        block.append(node)
