"""Play of Z-machine stories, with a list of commands in each state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pluralign.core import Decision, InputError
from pluralign.games.game import GameInfo
from pluralign.games.zmachine.annotations import Annotations
from pluralign.games.zmachine.candidates import (
    TEMPLATES,
    Candidates,
    Scene,
    is_playable,
    keys_of,
    place_key,
    to_try,
)
from pluralign.games.zmachine.explorer import Explorer, without_prompt
from pluralign.games.zmachine.interpreter import Interpreter
from pluralign.games.zmachine.labels import Labeller, Memory, Output
from pluralign.games.zmachine.side_file import SideFile

IDLE = "wait"
"""The command that is listed where no other is known."""

# Bounds the memory of long runs; a state takes about as much as the story's dynamic memory.
_CACHED = 2_000


@dataclass(frozen=True, eq=False)
class ZMachineStory:
    """A Z-machine story. Immutable; games share it.

    Args:
        info: What is known before play.
        side: Contents of its side file.
        walkthrough: Commands of the walkthrough; empty without one.
        initial: Commands that an episode begins with.
        candidates: Commands to list.
        annotations: Annotations that are counted; None without.
        replacements: Texts that the story prints as numbers.
        characters: Characters that the story can print.
        player: Number of the object that is the player; 0 if it is unknown.
    """

    info: GameInfo
    side: SideFile
    walkthrough: tuple[str, ...]
    candidates: Candidates
    annotations: Annotations | None
    replacements: Mapping[str, str]
    characters: frozenset[str]
    player: int = 0
    initial: tuple[str, ...] = ()

    def make_game(self) -> ZMachineGame:
        """A new game of this story."""
        return ZMachineGame(self)

    def explorer(self) -> Explorer:
        """A new run of the story."""
        labeller = self.labeller()
        interpreter = Interpreter(self.side.story)
        return Explorer(
            interpreter, labeller, self.replacements, self.side.endings, self.player, self.initial
        )

    def labeller(self) -> Labeller | None:
        """Counts of the annotations; None without annotations."""
        return None if self.annotations is None else Labeller(self.annotations, markers=self.side.markers)

    @property
    def templates(self) -> tuple[str, ...]:
        """Commands to try with the objects in sight."""
        return (*TEMPLATES, *self.side.templates)


class State(NamedTuple):
    """A saved state: the interpreter's, what is shown, and what the counts depend on.

    The description is what the story answers to ``look``; None when the game has ended.
    """

    interpreter: Hashable
    text: str
    description: str | None
    moves: int
    score: int
    rewards: frozenset[str]
    memory: Memory


class ZMachineGame:
    """A Z-machine story as a `Game`. The seed determines the random numbers.

    A decision's prompt is the story's answer to ``look``, what the player carries, and the text since the
    last command; its options are commands in alphabetical order.

    Args:
        story: Story from `load_zmachine`; any number of games may share it.
    """

    def __init__(self, story: ZMachineStory) -> None:
        self.story = story
        self.explorer = story.explorer()
        self._labeller = story.labeller()
        self._options: OrderedDict[Hashable, tuple[str, ...]] = OrderedDict()
        self._text, self._description = "", None
        self._decision: Decision | None = None
        self._moves, self._score = 0, 0
        self._rewards: frozenset[str] = frozenset()
        self._memory = Memory()
        self.reset()

    @property
    def info(self) -> GameInfo:
        """What is known before play."""
        return self.story.info

    @property
    def decision(self) -> Decision | None:
        """The current decision; None when the game has ended."""
        if self._decision is None and self._description is not None:
            self._decision = Decision(self._prompt(self._description), self._list(self._description))
        return self._decision

    @property
    def text(self) -> str:
        """Text shown since the last command (the ending's text when the game has ended)."""
        return self._text

    @property
    def over(self) -> bool:
        """Whether the game has ended; unlike `decision`, this tries no commands."""
        return self._description is None

    @property
    def score(self) -> int:
        """The score of the episode."""
        return self._score

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode."""
        output = self.explorer.begin(seed)
        self._moves, self._rewards, self._memory = 0, frozenset(), Memory()
        self._score = self.explorer.score(0, output, over=False)
        self._present(output)

    def choose(self, action: int) -> Mapping[str, float]:
        """Enter a listed command.

        Args:
            action: Index of the option, from 0.

        Returns:
            The non-zero counts of this step: ``points`` (negative if points are lost), and those of the
            annotations, ``variable.bad_others``, ``variable.bad_self``, ``variable.good_others``,
            ``variable.good_self``.

        Raises:
            IndexError: There is no such option.
            InputError: The interpreter stopped, or the annotations do not fit the story.
        """
        decision = self.decision
        options = () if decision is None else decision.options
        if not 0 <= action < len(options):
            raise IndexError(f"option {action} of {len(options)}")
        return self.enter(options[action])

    def enter(self, command: str) -> Mapping[str, float]:
        """Enter any command, listed or not, and return the step's counts (see `choose`).

        Raises:
            InputError: The episode has ended, the interpreter stopped, or the annotations do not fit.
        """
        if self._description is None:
            raise InputError("the episode has ended", path=self.story.side.story)
        output = self.explorer.enter(command)
        self._moves += 1
        over = self.explorer.over(output)
        before, self._score = self._score, self.explorer.score(self._score, output, over=over)
        new = {key: points for key, points in output.rewards if key not in self._rewards}
        self._rewards |= set(new)
        points = self._score - before + sum(new.values())
        counts = {"points": float(points)} if points else {}
        if self._labeller is not None:
            labels, self._memory = self._labeller.count(output, command, self._memory)
            counts |= labels
        self._present(output, over=over)
        return counts

    def save(self) -> Hashable:
        """The whole state: equal states have equal futures."""
        return State(
            self.explorer.interpreter.state, self._text, self._description, self._moves, self._score,
            self._rewards, self._memory,
        )  # fmt: skip

    def restore(self, state: Hashable) -> None:
        """Return to a state that a game of this story saved."""
        if not isinstance(state, State):
            raise InputError(f"not a saved state of '{self.info.name}': {state!r:.60}")
        self.explorer.interpreter.load(state.interpreter)
        self._text, self._description, self._decision = state.text, state.description, None
        self._moves, self._score = state.moves, state.score
        self._rewards, self._memory = state.rewards, state.memory

    def _present(self, output: Output, *, over: bool = False) -> None:
        self._text, self._decision, self._description = without_prompt(output.text), None, None
        if not over and self._moves < self.story.side.max_moves:
            self._description = without_prompt(self.explorer.peek("look").text)

    def _prompt(self, description: str) -> str:
        shown = description in self._text
        carried = self.explorer.carried()
        parts = (
            self._text if shown else description,
            f"You carry: {', '.join(carried)}." if carried else "",
            "" if shown or self._text in description else self._text,
        )
        return "\n\n".join(filter(None, parts))

    def _list(self, description: str) -> tuple[str, ...]:
        state = self.explorer.interpreter.state
        found = self._options.get(state)
        if found is None:
            if len(self._options) >= _CACHED:
                self._options.popitem(last=False)
            found = self._options[state] = list_commands(self.story, self.explorer, description)
        return found


def list_commands(story: ZMachineStory, explorer: Explorer, description: str) -> tuple[str, ...]:
    """The commands to list in a state: the file's, and where it has none, those that do something when tried.

    The list depends on the file and the state alone. A walkthrough's command is listed in its place if the
    objects that it names are in sight.

    Args:
        story: Story.
        explorer: Its run, in the state.
        description: What the story answers to ``look``.
    """
    scene = explorer.scene(description)
    known = story.candidates
    unknown = to_try(scene, story.templates, known.tried) if story.side.try_unknown else {}
    found = {**known.commands, **(explorer.working(unknown, scene) if unknown else {})}
    listed = dict.fromkeys(walked(story, explorer, scene))
    for key in keys_of(scene):
        listed |= dict.fromkeys(found.get(key, ()))
    return tuple(sorted(list(listed)[: story.side.max_options])) or (IDLE,)


def walked(story: ZMachineStory, explorer: Explorer, scene: Scene) -> list[str]:
    """The walkthrough's commands in a place whose objects are in sight."""
    objects = {word for name in explorer.interpreter.names for word in name.lower().split() if len(word) > 2}
    hidden = objects - scene.named
    commands = story.candidates.walkthrough.get(place_key(scene.place), [])
    always = story.candidates.walkthrough.get(f"{place_key(scene.place)} always", [])
    return [
        *always,
        *(c for c in commands if is_playable(c) and hidden.isdisjoint(c.lower().split())),
    ]
