"""A slow second player of ChoiceScript's scenes, by the documented rules: it walks from line to line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from choicescript_expressions import LEADING, Reader, Stop, Value, fill, number, spelled, whole

DASHES = tuple("-\u2011\u2012\u2013\u2014")
MODES = {"hide_reuse": "hide", "disable_reuse": "disable", "allow_reuse": "allow"}
MOST_LINES = 5_000


@dataclass
class Shown:
    """An option on the page."""

    text: str
    line: int
    mode: str


@dataclass
class Scene:
    """What play knows of the scene that it is in."""

    name: str
    line: int = 0
    indent: int = 0
    temps: dict[str, Value | None] = field(default_factory=dict[str, "Value | None"])
    used: set[int] = field(default_factory=set[int])
    returns: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    ends: dict[int, int] = field(default_factory=dict[int, int])
    mode: str = "allow"


def indent_of(line: str) -> int:
    """Number of spaces before a line."""
    return len(line) - len(line.lstrip(" "))


class Player:
    """Plays scenes of which the first is ``startup``.

    Args:
        scenes: Text of each scene, in the order of the scene list.
        seed: Random seed.
        unlisted: Text of the scenes that are not in the list.
    """

    def __init__(self, scenes: Mapping[str, str], seed: int, unlisted: Mapping[str, str]) -> None:
        self.listed_scenes = list(scenes)
        self.scenes = {name: source.split("\n") for name, source in {**scenes, **unlisted}.items()}
        self.random, self.stats = seed, dict[str, Value]()
        self.here, self.calls, self.arguments = Scene("startup"), list[Scene](), list[Value]()
        self.output, self.page = list[str](), list[Shown]()
        self.over, self.stopped = False, ""
        self.go()

    @property
    def text(self) -> str:
        """The page: single spaces, and at most one blank line between paragraphs."""
        lines = [" ".join(line.split()) for line in "".join(self.output).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    @property
    def options(self) -> list[str]:
        """Texts of the options."""
        return [" ".join(option.text.split()) for option in self.page]

    def choose(self, action: int) -> None:
        """Take an option."""
        option = self.page[action]
        if option.mode != "allow":
            self.here.used.add(option.line)
        self.output, self.page = [], []
        self.enter(option.line + 1, indent_of(self.lines[option.line]))
        self.go()

    def go(self) -> None:
        """Play to the next page."""
        try:
            for _ in range(MOST_LINES):
                if self.over or self.page:
                    return
                self.pass_line()
            self.stopped = "an endless loop"
        except Stop as error:
            # The interpreter names the line of the option.
            inside = str(error).startswith(("choice: ", "play falls"))
            place = "choice" if inside else self.here.line + 1
            self.stopped = f"{self.here.name}:{place}"

    @property
    def lines(self) -> list[str]:
        """Lines of the scene."""
        return self.scenes[self.here.name]

    def enter(self, line: int, outside: int) -> None:
        """Go on at a line, in the block that it begins."""
        self.here.line = line
        following = self.block_indent(line)
        self.here.indent = following if following > outside else outside

    def block_indent(self, line: int) -> int:
        """Indentation of the next line that is not blank."""
        return next((indent_of(text) for text in self.lines[line:] if text.strip()), 0)

    def past(self, line: int, indent: int) -> int:
        """The next line that is not deeper than this."""
        while line < len(self.lines) and (
            not self.lines[line].strip() or indent_of(self.lines[line]) > indent
        ):
            line += 1
        return line

    def after(self, indent: int) -> int:
        """Where play goes on after the block below this line: blank lines at its end are shown."""
        line = self.past(self.here.line + 1, indent)
        while not self.lines[line - 1].strip():
            line -= 1
        return line

    def pass_line(self) -> None:
        here = self.here
        if here.line in here.ends:
            here.line = here.ends[here.line]
            if here.line < 0:
                raise Stop("play falls out of an option")
            return
        if here.line >= len(self.lines):
            self.do_finish("")
            return
        raw = self.lines[here.line]
        if not raw.strip():
            self.output.append("\n\n")
            here.line += 1
            return
        if indent_of(raw) > here.indent:
            raise Stop("nothing opens a block here")
        here.indent = indent_of(raw)
        command = re.match(r"\s*\*(\w+)\s*(.*?)\s*$", raw)
        if raw.lstrip().startswith("#"):
            raise Stop("play falls out of an option")
        if command is None:
            self.print_line(raw.lstrip())
            here.line += 1
            return
        if command.group(1).endswith("_reuse") and command.group(2):
            raise Stop("play falls out of an option")
        action: Callable[[str], Any] = getattr(self, f"do_{command.group(1)}")
        line = here.line
        moved = action(command.group(2))
        if moved is None and self.here is here and here.line == line:
            here.line += 1

    def print_line(self, text: str) -> None:
        """Print a line; words of the next are apart from it, unless it ends with a dash."""
        shown = fill(text, self.lookup)
        self.output.append(shown if shown.endswith(DASHES) else shown + " ")

    def lookup(self, name: str) -> Value:
        """Value of a variable."""
        name = name.lower()
        found = self.here.temps.get(name) if name in self.here.temps else self.stats.get(name)
        if found is None:
            raise Stop(f"no variable '{name}'")
        return found

    def store(self, name: str, value: Value) -> None:
        """Change a variable: the temporary one, if there is one."""
        name = name.lower()
        if name in self.here.temps:
            self.here.temps[name] = value
        elif name in self.stats:
            self.stats[name] = value
        else:
            raise Stop(f"no variable '{name}'")

    def value(self, source: str) -> Value:
        """Value of an expression."""
        return Reader(source, self.lookup).whole()

    def values(self, source: str) -> list[Value]:
        """Values in a row."""
        reader, found = Reader(source, self.lookup), list[Value]()
        while reader.rest:
            found.append(reader.value())
        return found

    def draw(self) -> float:
        """The next random number (SplitMix64)."""
        bits = (1 << 64) - 1
        self.random = (self.random + 0x9E3779B97F4A7C15) & bits
        mixed = self.random
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & bits
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & bits
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)

    def implicit(self) -> bool:
        """Whether play may fall out of options and into ``*else``."""
        return self.stats.get("implicit_control_flow", False) is True

    # The commands.

    def do_title(self, data: str) -> None: ...
    def do_comment(self, data: str) -> None: ...
    def do_label(self, data: str) -> None: ...

    def do_scene_list(self, data: str) -> None:
        self.here.line = self.past(self.here.line + 1, self.here.indent)

    def do_create(self, data: str) -> None:
        name, _, source = data.partition(" ")
        self.stats[name.lower()] = self.value(source)

    def do_create_array(self, data: str) -> None:
        name, size, value = data.split(" ", 2)
        self.stats |= {f"{name}_{i + 1}": self.value(value) for i in range(int(size))}
        self.stats[f"{name}_count"] = size

    def do_temp(self, data: str) -> None:
        name, _, source = data.partition(" ")
        self.here.temps[name.lower()] = self.value(source) if source.strip() else None

    def do_temp_array(self, data: str) -> None:
        name, size, value = data.split(" ", 2)
        self.here.temps |= {f"{name}_{i + 1}": self.value(value) for i in range(int(size))}
        self.here.temps[f"{name}_count"] = size

    def do_set(self, data: str) -> None:
        reader = Reader(data, self.lookup)
        name = reader.name(reader.take())
        first = self.lookup(name) if reader.peek() in LEADING else None
        self.store(name, reader.whole(first))

    def do_setref(self, data: str) -> None:
        reader = Reader(data, self.lookup)
        name = spelled(reader.value())
        first = self.lookup(name) if reader.peek() in LEADING else None
        self.store(name, reader.whole(first))

    def do_print(self, data: str) -> None:
        shown = spelled(self.value(data))
        self.output.append(shown if shown.endswith(DASHES) else shown + " ")

    def do_line_break(self, data: str) -> None:
        self.output.append("\n")

    def do_page_break(self, data: str) -> None:
        self.output.append("\n\n")

    def do_rand(self, data: str) -> None:
        reader = Reader(data, self.lookup)
        name = reader.name(reader.take())
        low, high = reader.value(), reader.value()
        least, most = whole(low), whole(high)
        if isinstance(low, bool) or isinstance(high, bool) or least is None or most is None or most < least:
            raise Stop("no such range")
        drawn = self.draw()
        both = all(spelled(x) == spelled(float(math.floor(y))) for x, y in ((low, least), (high, most)))
        if least == most:
            self.store(name, low)
        else:
            share = math.floor(drawn * (most - least + 1)) if both else drawn * (most - least)
            self.store(name, least + share)

    def do_input_text(self, data: str) -> None:
        self.output.append("\n\n")
        self.store(data, "Alex")

    def do_input_number(self, data: str) -> None:
        reader = Reader(data, self.lookup)
        name = reader.name(reader.take())
        low, high = number(reader.value()), number(reader.value())
        if high < low:
            raise Stop("no such number")
        self.output.append("\n\n")
        self.store(name, float(math.floor(low + (high - low) / 2)))

    def do_hide_reuse(self, data: str) -> None:
        self.here.mode = "hide"

    def do_disable_reuse(self, data: str) -> None:
        self.here.mode = "disable"

    def do_allow_reuse(self, data: str) -> None:
        self.here.mode = "allow"
