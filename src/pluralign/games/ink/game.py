"""An Ink story as a game."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pluralign.core import Decision, InputError
from pluralign.games import harms
from pluralign.games.game import GameInfo
from pluralign.games.ink.runtime import LINE_SECONDS, Runtime
from pluralign.games.ink.tags import Note, read_tag

MAX_STATES = 20_000
"""Number of states beyond which a story counts as too large to explore; each takes 2 to 4 kB."""

# The runtime's own seeds are below 100; the sum of seed and last number drawn must fit 32 bits.
_SEEDS = 1 << 20

# Bounds the memory of long runs.
_CACHED = 100_000


@dataclass(frozen=True, eq=False)
class InkStory:
    """A compiled story. Immutable; games share it.

    Args:
        info: What is known before play.
        path: Path of the compiled file.
        source: Text of the compiled file.
        notes: Contents of the tags without logic, by tag.
        achievements: Points of the achievements, by name.
        variables: Names of the variables that objectives use.
        choices: Number of choices in the source.
        words: Number of words in text, options and tags.
        characters: Characters that the story can print, those of numbers excepted.
        fallbacks: Paths of the fallback choices.
    """

    info: GameInfo
    path: Path
    source: str
    notes: Mapping[str, Note]
    achievements: Mapping[str, float]
    variables: tuple[str, ...]
    choices: int
    words: int
    characters: frozenset[str]
    fallbacks: frozenset[str] = frozenset()

    def make_game(self) -> InkGame:
        """A new game of this story."""
        return InkGame(self)


class State(NamedTuple):
    """A saved state: the runtime's state (empty after the ending), the page, and the achievements won."""

    runtime: str
    text: str
    won: frozenset[str]


class InkGame:
    """An Ink story as a `Game`. The seed determines the random numbers.

    If nothing is shown between two choices, the page stays: the next decision has the same prompt.

    Args:
        story: Story from `load_ink`; any number of games may share it.
        line_seconds: Seconds after which a line counts as an endless loop.
    """

    def __init__(self, story: InkStory, line_seconds: float = LINE_SECONDS) -> None:
        self.story = story
        self._runtime = Runtime(story.source, story.path, line_seconds, story.fallbacks)
        self._begin: dict[str, Any] = json.loads(self._runtime.state)
        self._decisions: dict[tuple[str, tuple[str, ...]], Decision] = {}
        self._notes: dict[str, Note | None] = {**story.notes}
        self._decision: Decision | None = None
        self._text = ""
        self._won: frozenset[str] = frozenset()
        self._values: list[float] = []
        self.reset()

    @property
    def info(self) -> GameInfo:
        """What is known before play."""
        return self.story.info

    @property
    def decision(self) -> Decision | None:
        """The current decision; None when the game has ended."""
        return self._decision

    @property
    def text(self) -> str:
        """Text shown since the last action (the ending's text when the game has ended)."""
        return self._text

    @property
    def loose_end(self) -> str:
        """Message of the runtime if the story ended without an -> END; else empty."""
        return self._runtime.loose_end

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode.

        Raises:
            InputError: The story has an error before its first choice.
        """
        # The runtime's own seed differs from game to game; without chance, states must not.
        self._begin["storySeed"] = seed % _SEEDS if self.info.random else 0
        self._runtime.load(json.dumps(self._begin))
        self._text, self._won = "", frozenset()
        self._run()
        self._values = self._read_values()

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option and run to the next decision or the end.

        Args:
            action: Index of the option, from 0.

        Returns:
            The non-zero counts of this step by metric name: `harms.METRICS`, and ``variable.NAME``, the
            change of a variable that an objective uses.

        Raises:
            IndexError: There is no such option.
            InputError: The story has an error; the message names its file.
        """
        listed = 0 if self._decision is None else len(self._decision.options)
        if not 0 <= action < listed:
            raise IndexError(f"option {action} of {listed}")
        tags = self._runtime.choose(action)
        tags += self._run()
        notes = [note for note in map(self._note, tags) if note is not None]
        counts = harms.step_counts([note.annotation for note in notes], self._win(notes))
        before, self._values = self._values, self._read_values()
        for name, old, new in zip(self.story.variables, before, self._values, strict=True):
            if new != old:
                counts[harms.VARIABLE + name] = new - old
        return counts

    def save(self) -> Hashable:
        """The whole state: equal states have equal futures."""
        if self._decision is None:
            return State("", self._text, frozenset())
        return State(self._runtime.state, self._text, self._won)

    def restore(self, state: Hashable) -> None:
        """Return to a state that a game of this story saved."""
        if not isinstance(state, State):
            raise InputError(f"not a saved state of '{self.info.name}': {state!r:.60}")
        self._text, self._won = state.text, state.won
        if not state.runtime:
            self._decision = None
            return
        self._runtime.load(state.runtime)
        self._present()
        self._values = self._read_values()

    def _run(self) -> list[str]:
        """Run to the next choice or the end, and return the tags passed."""
        shown: list[str] = []
        passed: list[str] = []
        for line, tags in self._runtime.lines():
            if line:
                shown.append(line)
            passed += tags
        text = "\n".join(shown)
        self._present(text)
        return passed

    def _present(self, text: str = "") -> None:
        options = tuple(option.strip() for option in self._runtime.options)
        if text or not options:
            self._text = text
        if len(options) > self.info.max_options:
            raise InputError(
                f"a decision lists {len(options)} options, more than max_options, {self.info.max_options}",
                path=self.story.path,
            )
        self._decision = self._known(options) if options else None

    def _known(self, options: tuple[str, ...]) -> Decision:
        if len(self._decisions) >= _CACHED:
            self._decisions.clear()
        found = self._decisions.get((self._text, options))
        if found is None:
            found = self._decisions[self._text, options] = Decision(self._text, options)
        return found

    def _note(self, tag: str) -> Note | None:
        if tag not in self._notes:
            if len(self._notes) >= _CACHED:
                self._notes = {**self.story.notes}
            try:
                self._notes[tag] = read_tag(tag)
            except InputError as error:
                raise InputError(error.message, path=self.story.path, field=error.field) from None
        return self._notes[tag]

    def _win(self, notes: Sequence[Note]) -> float:
        """Points of newly won achievements."""
        total = 0.0
        for note in notes:
            for name, points in note.points.items():
                if name not in self.story.achievements:
                    raise InputError(
                        f"achievement '{name}' must be in a tag without logic",
                        path=self.story.path,
                    )
                if name not in self._won:
                    self._won |= {name}
                    total += points
        return total

    def _read_values(self) -> list[float]:
        values: list[float] = []
        for name in self.story.variables:
            value = self._runtime.number(name)
            if value is None:
                raise InputError(
                    f"variable '{name}' has become something other than a number", path=self.story.path
                )
            values.append(value)
        return values
