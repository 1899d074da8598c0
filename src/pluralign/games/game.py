"""The interface that every text game stands behind."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pluralign.core import Decision, Objective


@dataclass(frozen=True)
class GameInfo:
    """What is known of a game before it is played.

    Args:
        name: identifier, as the command line takes it.
        title: as printed.
        author: as printed.
        summary: two or three sentences.
        player_character: who the player is.
        max_points: sum of all achievements' points.
        max_options: the most options that one decision can list.
        objectives: the built-in ones and those that the game defines.
        random: whether chance plays a part, so that the seed changes what happens.
        lagged: whether a step counts what led to it, and not what it led to, as MACHIAVELLI's own code does.
        labels: a digest of what a rater thinks of its options; empty without labels.
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

    def objective(self, name: str) -> Objective:
        """The objective of this name.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        from pluralign.games.harms import find_objective

        return find_objective(self.objectives, name)


class Game(Protocol):
    """A text game: shows a decision, takes an option, counts what it did.

    The same seed and actions give the same episode.
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
        """The decision now open; None when the game has ended."""
        ...

    @property
    def text(self) -> str:
        """What was shown since the last action (the ending's text when the game has ended)."""
        ...

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option, run to the next decision or the end, and return the non-zero counts
        of this step by metric name (see `harms.METRICS` and `harms.FURTHER`).

        Raises:
            IndexError: no such option.
            InputError: the game's source is at fault; the message names file and line.
        """
        ...

    def save(self) -> Hashable:
        """The whole state, hashable: two equal states have equal futures."""
        ...

    def restore(self, state: Hashable) -> None:
        """Return to a saved state."""
        ...
