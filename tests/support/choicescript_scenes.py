"""Random scenes of ChoiceScript, built from its grammar: most of their lines make sense."""

from __future__ import annotations

import random

NUMBERS = ("n", "m", "t", "arr[1]", "arr[2]", "arr[k]", '{"n"}', "{which}", "{other}")
BOOLEANS = ("yes", "no", "true", "false")
TEXTS = ("s", '"two words"', '"<${n}>"', '""', "which", '"5"')
ENDS = ("", "", "", ".", " -", "—", "- ", "  ")
ARITHMETIC = ("+", "-", "*", "/", "%", "modulo", "%+", "%-", "^")
COMPARISONS = ("=", "!=", "<", ">", "<=", ">=")
HEAD = """\
*title Random
*create n 4
*create m 60
*create k 2
*create s "ann"
*create which "n"
*create other "m"
*create yes true
*create no false
*create_array arr 3 7
"""


class Writer:
    """Writes a scene.

    Args:
        lots: Random numbers.
        name: Name of the scene.
        scenes: Names of all scenes.
        implicit: Whether play may fall out of options and into ``*else``.
        called: Whether ``*gosub_scene`` calls the scene.
    """

    def __init__(
        self, lots: random.Random, name: str, scenes: list[str], *, implicit: bool, called: bool = False
    ) -> None:
        self.lots, self.name, self.scenes = lots, name, scenes
        self.implicit, self.called = implicit, called
        self.lines, self.part, self.options = list[str](), 0, 0

    def scene(self) -> str:
        """The scene's text."""
        lots = self.lots
        self.add(0, f"*temp t {lots.randint(0, 9)}")
        if lots.random() < 0.3:
            self.add(0, "*temp n 50")
        parts = lots.randint(1, 3)
        for self.part in range(parts):
            self.block(0, lots.randint(1, 4))
            if lots.random() < 0.3:
                self.hub()
            self.add(0, f"*label part{self.part}")
        self.add(0, "Here it ends.")
        self.add(0, "*return" if self.called and lots.random() < 0.9 else self.ending())
        self.part = -1
        for number in range(2):
            self.add(0, f"*label sub{number}")
            if lots.random() < 0.7:
                self.add(0, "*params one two")
                self.add(0, "Given ${one} and ${two}, ${param_count} in all.")
            self.block(0, lots.randint(0, 2))
            self.add(0, "*return")
        return "\n".join(self.lines)

    def hub(self) -> None:
        """A choice to which its options return, so that it matters which were taken before."""
        lots = self.lots
        self.add(0, f"*label hub{self.part}")
        self.add(0, self.prose())
        if lots.random() < 0.5:
            self.add(0, lots.choice(("*hide_reuse", "*disable_reuse")))
        self.add(0, "*choice")
        for number in range(lots.randint(1, 3)):
            reuse = lots.choice(("", "*hide_reuse ", "*disable_reuse ", "*allow_reuse "))
            shown = lots.choice(("", f"*if ({self.condition(1)}) "))
            self.add(1, f"{reuse}{shown}#Hub {number}")
            self.add(2, self.assignment())
            self.add(2, f"*goto hub{self.part}")
        self.add(1, "*allow_reuse #On")
        self.leave(2)

    def ending(self) -> str:
        """The scene's last command."""
        following = [] if self.called else self.scenes[self.scenes.index(self.name) + 1 :]
        kinds = ["*finish", "*finish", "*ending" if self.name == "startup" else "*goto_scene startup"]
        if following:
            kinds += [f"*goto_scene {following[0]}", f"*goto_scene {following[0]} part0"]
        return self.lots.choice(kinds)

    def add(self, indent: int, line: str) -> None:
        """Append a line."""
        self.lines.append("  " * indent + line)

    # Expressions.

    def numeric(self, depth: int = 2) -> str:
        lots = self.lots
        if depth == 0 or lots.random() < 0.4:
            literal = str(lots.choice((lots.randint(0, 9), lots.randint(0, 100), "2.5", "3.0")))
            return lots.choice((*NUMBERS, literal, literal, literal))
        if lots.random() < 0.15:
            function = lots.choice(("round", "length", "round"))
            return f"{function}({self.numeric(depth - 1)})"
        gap = lots.choice(("", " "))
        operator = lots.choice(ARITHMETIC)
        gap = " " if operator.isalpha() else gap
        return f"({self.numeric(depth - 1)}{gap}{operator}{gap}{self.numeric(depth - 1)})"

    def textual(self) -> str:
        first, second = self.lots.choice(TEXTS), self.lots.choice((self.numeric(1), *TEXTS))
        return f"({first}&{second})" if self.lots.random() < 0.4 else first

    def condition(self, depth: int = 2) -> str:
        lots, roll = self.lots, self.lots.random()
        if roll < 0.25 or depth == 0:
            return lots.choice(BOOLEANS)
        if roll < 0.35:
            return f"not({self.condition(depth - 1)})"
        if roll < 0.5:
            return f"({self.condition(depth - 1)} {lots.choice(('and', 'or'))} {self.condition(depth - 1)})"
        if roll < 0.6:
            other = lots.choice((self.textual(), self.numeric(0)))
            return f"({self.textual()} {lots.choice(('=', '!='))} {other})"
        return f"({self.numeric(1)} {lots.choice(COMPARISONS)} {self.numeric(1)})"

    def prose(self) -> str:
        lots = self.lots
        pieces = [
            lots.choice(
                (
                    "The rain falls",
                    "a door -",
                    "${" + self.numeric(1) + "}",
                    "${" + lots.choice(TEXTS) + "}",
                    "$!{s}",
                    "$!!{which}",
                    "@{" + self.condition(1) + " one|two}",
                    "@{k one|two ${n}|three}",
                    "${yes}",
                )
            )
            for _ in range(lots.randint(1, 3))
        ]
        return " ".join(pieces) + lots.choice(ENDS)

    # Lines.

    def block(self, indent: int, count: int) -> None:
        """Some lines of one indentation."""
        for _ in range(count):
            self.statement(indent)

    def statement(self, indent: int) -> None:
        lots = self.lots
        kind = lots.choices(
            ("text", "blank", "set", "if", "choice", "call", "other", "wrong"), (6, 2, 6, 4, 4, 2, 5, 0.15)
        )[0]
        if kind == "text":
            self.add(indent, self.prose())
        elif kind == "blank":
            self.lines.append("")
        elif kind == "set":
            self.add(indent, self.assignment())
        elif kind == "if" and indent < 5:
            self.chain(indent)
        elif kind == "choice" and indent < 4:
            self.choice(indent)
        elif kind == "call" and self.part >= 0:
            self.call(indent)
        elif kind == "wrong":
            self.add(indent, lots.choice((f"*set n {self.textual()} + 1", "*goto nowhere", "*set gone 1")))
        else:
            self.add(indent, self.other())

    def assignment(self) -> str:
        lots, number = self.lots, self.lots.choice(("n", "m", "t", "arr[1]", "arr[k]", "{which}", '{"m"}'))
        return lots.choice(
            (
                f"*set {number} {self.numeric()}",
                f"*set {number} {lots.choice(ARITHMETIC[:5])}{self.numeric(1)}",
                f"*set {number} {lots.choice(('%+', '%-', '^'))} {self.numeric(1)}",
                f"*set {number} {self.numeric(1)} {lots.choice(ARITHMETIC)} {self.numeric(1)}",
                f"*set s {self.textual()}",
                f'*set s &"{lots.choice("xyz")}"',
                f"*set {lots.choice(('yes', 'no'))} {self.condition()}",
                f'*set which "{lots.choice("nmt")}"',
                f"*set k {lots.randint(1, 3)}",
                f"*setref which {lots.choice(('+5', self.numeric(0)))}",
                f'*setref "m" {self.numeric(1)}',
                f"*temp t {self.numeric(1)}",
            )
        )

    def other(self) -> str:
        lots = self.lots
        drawn, most = lots.choice(("n", "m", "t", "{other}")), lots.choice((6, 20, "9.5", "m"))
        return lots.choice(
            (
                f"*rand {drawn} {lots.randint(0, 3)} {most}",
                f"*print {lots.choice((self.numeric(1), self.textual()))}",
                "*line_break",
                "*page_break",
                "*comment nothing",
                "*input_text s",
                f"*input_number m {lots.randint(0, 20)} {lots.randint(20, 100)}",
                lots.choice(("*hide_reuse", "*disable_reuse", "*allow_reuse")),
                "*temp fresh 3",
            )
        )

    def call(self, indent: int) -> None:
        lots = self.lots
        values = f" {self.numeric(1)} {lots.choice((self.textual(), self.numeric(1)))}"
        target = lots.choice(("sub0", "sub1", "{target}"))
        if lots.random() < 0.3 and not self.called:
            self.add(indent, f"*gosub_scene called{lots.choice(('', ' sub0' + values))}")
            return
        if target == "{target}":
            self.add(indent, f'*temp target "sub{lots.randint(0, 1)}"')
        self.add(indent, f"*gosub {target}{values}")

    def leave(self, indent: int) -> None:
        """Leave a block by a jump."""
        if self.part < 0:
            self.add(indent, "*return")
        elif self.lots.random() < 0.2:
            self.add(indent, f'*gotoref ("part"&{self.part})')
        else:
            self.add(indent, f"*goto part{self.part}")

    def chain(self, indent: int) -> None:
        """``*if``, and perhaps ``*elseif`` and ``*else``."""
        lots = self.lots
        branches = lots.choice((1, 1, 2, 3))
        other = branches > 1 and lots.random() < 0.6
        for number in range(branches):
            last = number == branches - 1
            word = "if" if number == 0 else "else" if last and other else "elseif"
            self.add(indent, f"*{word}" + (f" {self.condition()}" if word != "else" else ""))
            self.add(indent + 1, self.prose())
            self.block(indent + 1, lots.randint(0, 1))
            if not last and (not self.implicit or lots.random() < 0.2) and lots.random() < 0.95:
                self.leave(indent + 1)

    def choice(self, indent: int) -> None:
        lots = self.lots
        fake = lots.random() < 0.4
        self.add(indent, "*fake_choice" if fake else "*choice")
        count = lots.randint(2, 4)
        grouped = lots.randrange(1, count) if count > 2 and lots.random() < 0.4 else 0
        for number in range(count):
            last = number == count - 1
            if grouped == number and not last:
                self.add(indent + 1, f"*if {self.condition()}")
                self.option(indent + 2, fake, last)
                if lots.random() < 0.5:
                    self.add(indent + 1, lots.choice(("*else", f"*elseif {self.condition()}")))
                    self.option(indent + 2, fake, last)
                continue
            self.option(indent + 1, fake, last)

    def option(self, indent: int, fake: bool, last: bool) -> None:
        lots, before = self.lots, ""
        roll = lots.random()
        if not last:
            if roll < 0.2:
                before = lots.choice(("*hide_reuse ", "*disable_reuse ", "*allow_reuse "))
            if 0.1 < roll < 0.3:
                before += f"*if ({self.condition(1)}) "
            if 0.25 < roll < 0.4:
                before += f"*selectable_if ({self.condition(1)}) "
        else:
            before = "*allow_reuse "
        self.options += 1
        self.add(indent, f"{before}#Option {self.options}{lots.choice(('', ' ${n}', ' @{yes a|b}', '.'))}")
        self.add(indent + 1, self.prose())
        self.block(indent + 1, lots.randint(0, 2))
        falls = fake or last or self.implicit
        if (not falls or lots.random() < 0.2) and lots.random() < 0.97:
            self.leave(indent + 1)


def random_scenes(seed: int) -> dict[str, str]:
    """A game of three scenes."""
    lots = random.Random(seed)
    names, implicit = ["startup", "second", "called"], lots.random() < 0.4
    head = HEAD
    if implicit or lots.random() < 0.5:
        head += f"*create implicit_control_flow {str(implicit).lower()}\n"
    found: dict[str, str] = {}
    for name in names:
        found[name] = Writer(lots, name, names[:2], implicit=implicit, called=name == "called").scene()
    listed = "*scene_list\n  startup\n  second\n"
    return {**found, "startup": head + listed + found["startup"]}
