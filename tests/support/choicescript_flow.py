"""The commands of `choicescript_reference` that move play to another line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from choicescript_expressions import Reader, Stop, fill, spelled, truth
from choicescript_reference import MODES, Player, Scene, Shown, indent_of

FAULT = -1
"""Where play goes on after an option that it must not fall out of."""


class Reference(Player):
    """Plays scenes, with their jumps, calls, conditions and choices."""

    def jump(self, label: str) -> bool:
        """Go to a label of this scene."""
        wanted = re.compile(rf"\s*\*label\s+{re.escape(label.lower())}\s*", re.IGNORECASE)
        for line, text in enumerate(self.lines):
            if wanted.fullmatch(text):
                self.here.line, self.here.indent = line, indent_of(text)
                return True
        raise Stop(f"no label '{label}'")

    def place(self, data: str) -> tuple[str, str]:
        """A label or scene, which may be computed, and what follows it."""
        if data.startswith("{"):
            reader = Reader(data, self.lookup)
            return reader.name(reader.take()), reader.rest
        name, _, rest = data.partition(" ")
        return name.lower(), rest

    def do_goto(self, data: str) -> bool:
        return self.jump(self.place(data)[0])

    def do_gotoref(self, data: str) -> bool:
        return self.jump(spelled(self.value(data)))

    def do_gosub(self, data: str) -> bool:
        label, rest = self.place(data)
        self.arguments = self.values(rest)
        self.here.returns.append((self.here.line + 1, self.here.indent))
        return self.jump(label)

    def do_params(self, data: str) -> None:
        names = data.lower().split()
        if len(self.arguments) < len(names):
            raise Stop("too few values")
        self.here.temps["param_count"] = str(len(self.arguments))
        for position, value in enumerate(self.arguments):
            self.here.temps[f"param_{position + 1}"] = value
        self.here.temps |= dict(zip(names, self.arguments, strict=False))
        self.arguments = []

    def do_return(self, data: str) -> bool:
        if self.here.returns:
            self.here.line, self.here.indent = self.here.returns.pop()
        elif self.calls:
            self.here = self.calls.pop()
        else:
            raise Stop("nothing to return to")
        return True

    def open(self, data: str, *, called: bool = False) -> bool:
        """Go to another scene, or to a label in it; a call returns."""
        name, rest = self.place(data)
        label, rest = self.place(rest) if rest else ("", "")
        self.arguments = self.values(rest)
        if name not in self.scenes:
            raise Stop(f"no scene '{name}'")
        if called:
            self.here.line += 1
            self.calls.append(self.here)
        else:
            self.calls.clear()
        self.here = Scene(name)
        return not label or self.jump(label)

    def do_goto_scene(self, data: str) -> bool:
        return self.open(data)

    def do_gosub_scene(self, data: str) -> bool:
        return self.open(data, called=True)

    def do_finish(self, data: str) -> bool:
        self.output.append("\n\n")
        names = self.listed_scenes
        following = names.index(self.here.name) + 1 if self.here.name in names else len(names)
        if following == len(names):
            self.over = True
        else:
            self.here = Scene(names[following])
        return True

    def do_ending(self, data: str) -> bool:
        self.over = True
        return True

    def do_if(self, data: str) -> bool:
        """A line of a block's chain; ``*elseif`` and ``*else`` are passed here, too."""
        here, indent = self.here, self.here.indent
        if re.search(r"\s#", f" {data}"):
            raise Stop("play falls out of an option")
        while True:
            if truth(self.value(data)):
                self.enter(here.line + 1, indent)
                return True
            after, here.line = self.after(indent), self.past(here.line + 1, indent)
            found = self.continuation()
            if found is None:
                here.line = after
                return True
            command, data = found
            if command == "else":
                self.enter(here.line + 1, indent)
                return True

    def continuation(self) -> tuple[str, str] | None:
        """``*elseif`` or ``*else`` on this line."""
        if self.here.line >= len(self.lines):
            return None
        line = self.lines[self.here.line]
        found = re.match(r"\s*\*(elseif|elsif|else)\b\s*(.*)", line)
        return found and (found.group(1), found.group(2)) if indent_of(line) == self.here.indent else None

    def do_else(self, data: str) -> bool:
        """Reached only where play falls out of the branch above."""
        if not self.implicit():
            raise Stop("play falls into *else")
        self.here.line = self.after(self.here.indent)
        return True

    do_elseif = do_else

    def do_choice(self, data: str) -> bool:
        self.list_options(falls=self.implicit())
        return True

    def do_fake_choice(self, data: str) -> bool:
        self.list_options(falls=True)
        return True

    def list_options(self, *, falls: bool) -> None:
        """Show the page of a choice."""
        here, first = self.here, self.here.line
        end = self.past(first + 1, here.indent)
        starts = list[int]()
        try:
            self.page = list(self.listed(first + 1, end, starts))
            if not self.page:
                raise Stop("no option")
        except Stop as error:
            raise Stop(f"choice: {error}") from None
        here.line = first
        here.ends |= dict.fromkeys(starts, self.after(here.indent) if falls else FAULT)

    def listed(self, line: int, end: int, starts: list[int]) -> Iterator[Shown]:
        """The options of some lines that can be taken; ``starts`` gets the lines that begin one."""
        taken = True
        while line < end:
            text = self.lines[line].strip()
            if not text or text.startswith("*comment"):
                line += 1
                continue
            block = self.past(line + 1, indent_of(self.lines[line]))
            chain = re.fullmatch(r"\*(if|elseif|else)\b\s*([^#]*)", text)
            self.here.line = line
            if chain is None or chain.group(1) == "if":
                # A play that falls into *else passes that line as any other.
                starts.append(line)
            if chain is None:
                yield from self.option(line, text)
            else:
                kind, condition = chain.groups()
                if kind == "if":
                    taken = False
                inside = not taken and (kind == "else" or truth(self.value(condition)))
                taken = taken or inside
                if inside:
                    yield from self.listed(line + 1, block, starts)
            line = block

    def option(self, line: int, text: str) -> Iterator[Shown]:
        """An option, with the commands before it, if it can be taken."""
        mode = self.here.mode
        while not text.startswith("#"):
            command = re.match(r"\*(\w+)\s*", text)
            assert command is not None, text
            text = text[command.end() :]
            if command.group(1) in MODES:
                mode = MODES[command.group(1)]
                continue
            reader = Reader(text, self.lookup)
            shown = truth(reader.value())
            text = reader.rest
            if not shown:
                return
        if mode == "allow" or line not in self.here.used:
            yield Shown(fill(text[1:].strip(), self.lookup), line, mode)
