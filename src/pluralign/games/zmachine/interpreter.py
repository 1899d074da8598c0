"""Wrapper of fernz, the interpreter that runs Z-machine stories; its errors name the story."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Generator, Hashable
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.games.zmachine.world import Layout, World

# The interpreter's own range of seeds.
_SEEDS = 2**31

# A story that asks for more keys in a row waits for another one than Enter.
_KEYS = 50

# Flag of version 3 stories that show the time instead of the score.
_TIME_GAME = 2

# In the stream of an observation: a less-than sign, or a command to the display.
_DISPLAY = re.compile(r"<<|<([a-z]+)[^>]*>")


class Interpreter:
    """One run of a story. Its text is that of the lower window.

    Later versions than 3 print their status line in the upper window, with the number of moves: in the text,
    it would make each state one of its own.

    Args:
        path: Path of the story file.

    Raises:
        InputError: The interpreter is not installed, or refuses the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            fernz: Any = importlib.import_module("fernz")
        except ModuleNotFoundError as error:
            raise InputError("Z-machine stories need fernz: pip install 'pluralign[zmachine]'") from error
        self.path = path
        try:
            self._image: Any = fernz.Story.from_file(path)
            self._run: Any = fernz.FernzEnv(self._image)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", path=path) from error
        except ValueError as error:
            raise InputError(f"is not a Z-machine story: {error}", path=path) from error
        header: Any = self._image.header
        self.version: int = header.version
        if self.version not in (3, 4, 5, 8):
            raise InputError(
                f"is a story of Z-machine version {self.version}; 3, 4, 5 and 8 can be played", path=path
            )
        self.layout = Layout(self.version, header.object_table, header.globals_table)
        self.shows_score = self.version == 3 and not header.flags1 & _TIME_GAME
        self.dictionary_start: int = header.dictionary
        self._upper = False
        with self._reporting():
            self._run.seed(0)
            self._run.reset()
            self.names = self._read_names()

    def begin(self, seed: int) -> str:
        """Begin an episode with this seed of the random numbers, and return the opening text."""
        with self._reporting():
            self._run.seed(seed % _SEEDS)
            self._upper = False
            text = self._read(self._run.reset()[0])
            return text + self._press_enter()

    def enter(self, command: str) -> str:
        """Enter a command, and return the text up to the next prompt; requests for a key get Enter."""
        with self._reporting():
            text = self._read(self._run.step(command)[0])
            return text + self._press_enter()

    @property
    def done(self) -> bool:
        """Whether the story has quit."""
        return bool(self._run.done)

    @property
    def score(self) -> int:
        """The score on the status line; only where `shows_score`."""
        return int(self._run.get_score())

    @property
    def state(self) -> Hashable:
        """The whole state, including that of the random numbers; equal states have equal futures."""
        return self._run.get_state()

    def load(self, state: Hashable) -> None:
        """Return to a state."""
        with self._reporting():
            self._run.set_state(state)
        saved: Any = state
        self._upper = saved.output.window == 1

    @property
    def world(self) -> World:
        """The objects in the current state."""
        return World(self.layout, self._run.get_state().ram, len(self.names))

    def _press_enter(self) -> str:
        text = ""
        for _ in range(_KEYS):
            if not self._run.awaiting_character:
                break
            text += self._read(self._run.step("")[0])
        return text

    def _read(self, observation: Any) -> str:
        if self.version == 3:
            # The status line is no text of these stories.
            return str(observation.text)
        parts: list[str] = []
        stream, position = str(observation.stream), 0
        for found in _DISPLAY.finditer(stream):
            if not self._upper:
                parts += (stream[position : found.start()], "<" if found[1] is None else "")
            position = found.end()
            if found[1] in ("top", "bottom"):
                self._upper = found[1] == "top"
        return "".join((*parts, "" if self._upper else stream[position:]))

    def _read_names(self) -> tuple[str, ...]:
        try:
            return tuple(str(thing.name) for thing in self._run.get_world_objects())
        except NotImplementedError:
            # The number of objects of such a file is unknown.
            return ("",)

    @contextlib.contextmanager
    def _reporting(self) -> Generator[None]:
        try:
            yield
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"the Z-machine interpreter stopped: {error}", path=self.path) from None
