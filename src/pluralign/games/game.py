"""The protocols of text games: a `Story` is read once, and makes any number of `Game`s."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pluralign.core import Decision, Objective
from pluralign.games.harms import find_objective

MAX_STATES = 2_000_000
"""Default number of states beyond which a game counts as too large to explore."""


@dataclass(frozen=True)
class GameInfo:
    """Information about a game before it is played.

    Args:
        name: Identifier, used in file names and records.
        title: Title to print.
        author: Author to print.
        summary: Two or three sentences about the story.
        player_character: One sentence about the character that the player controls.
        max_points: Sum of the points of all achievements.
        max_options: Largest number of options that one decision can list.
        objectives: The built-in objectives and those that the game defines.
        random: Whether the game draws random numbers, so that the seed changes what happens.
        lagged: Whether a step counts what led to it instead of what follows it, as MACHIAVELLI's code does.
        labels: Digest of a rater's labels of the options; empty without labels.
        loses_points: Whether a step can lose points.
        max_states: Number of states beyond which `explore` and `exact_front` refuse the game as too large.
    """

    name: str
    title: str
    author: str
    summary: str
    player_character: str
    max_points: float
    max_options: int
    objectives: tuple[Objective, ...]
    random: bool = False
    lagged: bool = False
    labels: str = ""
    loses_points: bool = False
    max_states: int = MAX_STATES

    def objective(self, name: str) -> Objective:
        """The objective with this name.

        Raises:
            InputError: No objective has this name; the message lists the known ones.
        """
        return find_objective(self.objectives, name)

    def select(self, names: Sequence[str]) -> list[Objective]:
        """The objectives of these names, in this order.

        Raises:
            InputError: There is no such objective.
        """
        return [self.objective(name) for name in names]


class Game(Protocol):
    """A text game that is being played: shows a decision, takes an option and returns what the step counts.

    The same seed and actions give the same episode. Collectors, evaluators, `exact_front` and `StoryEnv`
    accept any object with these members.
    """

    @property
    def info(self) -> GameInfo:
        """What is known before play."""
        ...

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode."""
        ...

    @property
    def decision(self) -> Decision | None:
        """The current decision; None when the game has ended."""
        ...

    @property
    def text(self) -> str:
        """Text shown since the last action (the ending's text when the game has ended)."""
        ...

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option and run to the next decision or the end.

        Args:
            action: Index of the option, from 0.

        Returns:
            The non-zero counts of this step by metric name (see `harms.METRICS` and `harms.FURTHER`).

        Raises:
            IndexError: There is no such option.
            InputError: The game's source has an error; the message names the file and the line.
        """
        ...

    def save(self) -> Hashable:
        """The whole state, hashable: two equal states have equal futures."""
        ...

    def restore(self, state: Hashable) -> None:
        """Return to a saved state."""
        ...


class Story(Protocol):
    """A game's source, read and checked once. It does not change; its games share it.

    `open_story` returns one. A game of your own needs a class with these members and, to be opened by path or
    name, an `Opener` that returns it.
    """

    @property
    def info(self) -> GameInfo:
        """What is known before play."""
        ...

    @property
    def characters(self) -> frozenset[str]:
        """Characters that its games can print; digits and their signs may be left out."""
        ...

    def make_game(self) -> Game:
        """A new game of this story, at the start of an episode."""
        ...
