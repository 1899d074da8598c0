"""A compiled story, and the game that plays it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from pluralign.core import Decision, InputError
from pluralign.games import harms
from pluralign.games.choicescript.language.values import EvaluationError
from pluralign.games.choicescript.run.instructions import STOPPED, Frame, Option
from pluralign.games.choicescript.run.program import LineAnnotations, Program
from pluralign.games.choicescript.run.questions import Ask, Question, check_answer, default_answer
from pluralign.games.choicescript.run.text import ADDED, clean
from pluralign.games.game import GameInfo

MAX_LINES_PER_STEP = 100_000
"""Number of instructions in a step beyond which it counts as an endless loop."""

# Bounds the memory of long runs.
_CACHED_CHARACTERS = 50_000_000
_CACHED_COUNTS = 100_000

_BITS = (1 << 64) - 1


class State(NamedTuple):
    """A saved state: the place, the live variables, the stacks, the text shown, and the random state."""

    place: int
    values: tuple[Any, ...]
    returns: tuple[int, ...]
    frames: tuple[Frame, ...]
    text: str
    random: int = 0


@dataclass(frozen=True)
class ChoiceScriptStory:
    """A compiled story. Immutable; games share it.

    Args:
        info: What is known before play.
        folder: Folder that it was read from.
        scenes: Text of the scenes, by name.
        program: Compiled program.
        line_annotations: Annotations outside of the scenes.
        scene_list: Order of the scenes, if the head does not give it.
    """

    info: GameInfo
    folder: str
    scenes: Mapping[str, str]
    program: Program
    line_annotations: LineAnnotations | None = None
    scene_list: tuple[str, ...] = ()

    @property
    def characters(self) -> frozenset[str]:
        """Characters of the scenes' text, and those that play adds."""
        return frozenset("".join((*self.scenes.values(), ADDED)))

    def make_game(self) -> ChoiceScriptGame:
        """A new game of this story."""
        return ChoiceScriptGame(self)


class ChoiceScriptGame:
    """A ChoiceScript story as a `Game`. The seed affects only ``*rand`` and ``*goto_random_scene``.

    Args:
        story: Story from `load_story`; any number of games may share it.
        max_lines_per_step: Maximum number of instructions per step; adjacent lines of text are one.
        ask: Function that answers ``*input_text`` and ``*input_number``; equal questions must get equal
            answers.

    Attributes:
        answers: Function that answers; may be replaced between steps.
        visited: Set that the places of all executed instructions are added to (for the checker), or None.
        forgotten: File and line of each ``*goto_scene`` that left a called scene without ``*return``.
    """

    def __init__(
        self,
        story: ChoiceScriptStory,
        max_lines_per_step: int = MAX_LINES_PER_STEP,
        ask: Ask = default_answer,
    ) -> None:
        if max_lines_per_step < 1:
            raise InputError(f"must be 1 or more, found {max_lines_per_step}", field="max_lines_per_step")
        self.story = story
        self.max_lines_per_step = max_lines_per_step
        self._program = program = story.program
        self.answers = ask
        self._draws = program.random
        self._random = 0
        self.initial = program.slots
        self._steps = tuple(instruction.run for instruction in program.instructions)
        self._keep: dict[int, Callable[[list[Any]], tuple[Any, ...]]] = {}
        self._live: dict[int, tuple[int, ...]] = {}
        self._decisions: dict[tuple[str, tuple[str, ...]], Decision] = {}
        self._cached = 0
        self._counts: dict[tuple[int, tuple[int, ...]], dict[str, float]] = {}
        self.visited: set[int] | None = None
        self.forgotten: set[tuple[str, int]] = set()
        self.slots: list[Any] = []
        self.shown: list[str] = []
        self.passed: list[int] = []
        self.points = 0
        self.returns: list[int] = []
        self.frames: list[Frame] = []
        self._place = STOPPED
        self._decision: Decision | None = None
        self._options: tuple[Option, ...] = ()
        self._text = ""
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
    def text_so_far(self) -> str:
        """Text shown so far in the current step, for functions that answer a question."""
        return clean("".join(self.shown))

    @property
    def options(self) -> tuple[Option, ...]:
        """The current options, as compiled."""
        return self._options

    @property
    def unlocked(self) -> tuple[str, ...]:
        """Names of the achievements won so far; after `restore`, of those that play can still win or read."""
        return tuple(name for name, slot in self._program.won.items() if self.slots[slot])

    @property
    def variables(self) -> Mapping[str, Any]:
        """Values of the global variables by name; after `restore`, of those that play can still read."""
        return {name: self.slots[slot] for name, slot in self._program.variables.items()}

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode.

        Raises:
            InputError: The story has an error before its first choice.
        """
        self.slots = list(self._program.slots)
        self.returns, self.frames = [], []
        # Without random numbers, states are the same for all seeds.
        self._random = seed & _BITS if self._draws else 0
        self._run(self._program.entry)

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option and run to the next decision or the end.

        Args:
            action: Index of the option, from 0.

        Returns:
            The non-zero counts of this step by metric name (`harms.METRICS`).

        Raises:
            IndexError: There is no such option.
            InputError: The story has an error; the message names the file and the line.
        """
        if not 0 <= action < len(self._options):
            raise IndexError(f"option {action} of {len(self._options)}")
        option = self._options[action]
        if option.used is not None and option.reuse(self.slots) in ("hide", "disable"):
            self.slots[option.used] = True
        self._run(option.target)
        key = (self.points, tuple(self.passed))
        counts = self._counts.get(key)
        if counts is None:
            annotations = self._program.annotations
            counts = harms.step_counts([annotations[i] for i in key[1]], key[0])
            if len(self._counts) >= _CACHED_COUNTS:
                self._counts.clear()
            self._counts[key] = counts
        return dict(counts)

    def save(self) -> Hashable:
        """The state, without variables that play cannot read any more: equal states have equal futures."""
        place = self._place
        if place == STOPPED:
            return State(STOPPED, (), (), (), self._text)
        if place not in self._keep:
            self._keep[place] = _getter(self._program.live[place])
        values = self._keep[place](self.slots)
        return State(place, values, tuple(self.returns), tuple(self.frames), self._text, self._random)

    def restore(self, state: Hashable) -> None:
        """Return to a state that a game of this story saved."""
        if not isinstance(state, State):
            raise InputError(f"not a saved state of '{self.info.name}': {state!r}")
        self.slots = list(self._program.slots)
        self.returns, self.frames = list(state.returns), list(state.frames)
        self.shown, self.passed, self.points = [state.text], [], 0
        self._random = state.random
        if state.place == STOPPED:
            self.end()
            return
        live = self._live.get(state.place)
        if live is None:
            live = self._live[state.place] = self._program.live[state.place]
        for slot, value in zip(live, state.values, strict=True):
            self.slots[slot] = value
        self._place = state.place
        self._steps[state.place](self)

    def draw(self) -> float:
        """The next random number, 0 or more and below 1. For `Randomise`."""
        # SplitMix64 (Steele, Lea, Flood 2014), because its whole state is one integer.
        self._random = (self._random + 0x9E3779B97F4A7C15) & _BITS
        mixed = self._random
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _BITS
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)

    def ask(self, question: Question) -> str | float:
        """The answer to a question. For `Input`.

        Raises:
            EvaluationError: The answer is not a string, or not a number within the bounds.
        """
        return check_answer(question, self.answers(question))

    def present(self, texts: tuple[str, ...], options: tuple[Option, ...]) -> None:
        """Stop at a choice and list these options. For `Choose`."""
        raw = "".join(self.shown)
        decision = self._decisions.get((raw, texts))
        if decision is None:
            decision = self._new_decision(raw, texts)
        self._decision = decision
        self._text = decision.prompt
        self._options = options

    def end(self) -> None:
        """End the game. For `LeaveScene` and `End`."""
        self._place = STOPPED
        self._decision = None
        self._options = ()
        self._text = clean("".join(self.shown))

    def _run(self, place: int) -> None:
        self.shown, self.passed, self.points = [], [], 0
        steps = self._steps
        try:
            for _ in repeat(None, self.max_lines_per_step):
                if self.visited is not None:
                    self.visited.add(place)
                following = steps[place](self)
                if following < 0:
                    self._place = STOPPED if self._decision is None else place
                    return
                place = following
        except EvaluationError as error:
            raise self._error(place, str(error), error.line) from None
        raise self._error(place, f"no choice after {self.max_lines_per_step} lines: an endless loop")

    def _error(self, place: int, message: str, line: int | None = None) -> InputError:
        instruction = self._program.instructions[place]
        return InputError(message, path=instruction.path, row=line or instruction.line)

    def _new_decision(self, raw: str, texts: tuple[str, ...]) -> Decision:
        if self._program.strict and len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            raise EvaluationError(f"two options of this choice have the same text: {twice!r}")
        self._cached += len(raw)
        if self._cached > _CACHED_CHARACTERS:
            self._decisions.clear()
            self._cached = len(raw)
        decision = Decision(clean(raw), tuple(clean(text) for text in texts))
        # The same text can be composed of other pieces; it is the same decision.
        decision = self._decisions.setdefault((decision.prompt, decision.options), decision)
        self._decisions[raw, texts] = decision
        return decision


def _getter(slots: tuple[int, ...]) -> Callable[[list[Any]], tuple[Any, ...]]:
    if len(slots) > 1:
        return itemgetter(*slots)
    # itemgetter returns a bare value for one slot, and needs at least one.
    return lambda values: tuple([values[slot] for slot in slots])
