"""Play from saved states of games: whole episodes, and several continuations of one decision."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from pluralign.collect.chooser import SEED_RANGE, PolicyChooser
from pluralign.core import Decision, InputError, Objective, Policy
from pluralign.core.arrays import FloatArray
from pluralign.games.game import Game

_SEATS = 64


@dataclass(frozen=True)
class Start:
    """A place to play from.

    Args:
        stream: Source of random numbers of this play.
        state: Saved state; None for a new episode.
        past: Rewards of the episode before the state, shape (objectives,).
        taken: Number of steps of the episode before the state.
    """

    stream: np.random.Generator
    state: Hashable | None = None
    past: FloatArray | float = 0.0
    taken: int = 0


@dataclass
class Played:
    """What was played from a start; decisions with a single option are played, and not recorded.

    Attributes:
        decisions: Decisions with several options.
        actions: Options taken.
        states: Saved state of each decision.
        pasts: Rewards of the episode before each decision.
        places: Number of steps of the episode before each decision.
        length: Number of steps of the whole episode, those before the start included.
        total: Rewards of the whole episode, those before the start included, shape (objectives,).
        log_ratio: Sum of log pi - log pi_0 of the options taken, nats.
    """

    total: FloatArray
    length: int
    decisions: list[Decision] = field(default_factory=list[Decision])
    actions: list[int] = field(default_factory=list[int])
    states: list[Hashable] = field(default_factory=list[Hashable])
    pasts: list[FloatArray] = field(default_factory=list[FloatArray])
    places: list[int] = field(default_factory=list[int])
    log_ratio: float = 0.0


@final
class Player:
    """Plays games with a policy, many at a time. A play depends on its start and the policy alone.

    Args:
        make_game: Function that makes a game.
        objectives: Objectives whose rewards are recorded.
        initial: Policy pi_0 of the log-ratios.
        max_steps: Number of steps after which an episode is cut off, those before a start included.
    """

    def __init__(
        self, make_game: Callable[[], Game], objectives: Sequence[Objective], initial: Policy, max_steps: int
    ) -> None:
        self._make_game, self._objectives, self._initial = make_game, objectives, initial
        self._max_steps = max_steps
        self._games: list[Game] = []
        self._known: dict[str, FloatArray] = {}

    def play(self, policy: Policy, starts: Sequence[Start]) -> list[Played]:
        """Play from each start, in order.

        Raises:
            InputError: A game ends before its first decision, or its source has an error.
        """
        chooser = PolicyChooser(policy)
        while len(self._games) < min(_SEATS, len(starts)):
            self._games.append(self._make_game())
        found: list[Played] = []
        for first in range(0, len(starts), _SEATS):
            found += self._together(chooser, starts[first : first + _SEATS])
        return found

    def _together(self, chooser: PolicyChooser, starts: Sequence[Start]) -> list[Played]:
        games = self._games[: len(starts)]
        seats = [(game, own, self._begin(game, own)) for game, own in zip(games, starts, strict=True)]
        active = self._going_on(seats)
        while active:
            self._step(chooser, active)
            active = self._going_on(active)
        return [played for _, _, played in seats]

    def _going_on(self, seats: Sequence[tuple[Game, Start, Played]]) -> list[tuple[Game, Start, Played]]:
        return [
            (game, start, played)
            for game, start, played in seats
            if game.decision is not None and played.length < self._max_steps
        ]

    def _begin(self, game: Game, start: Start) -> Played:
        if start.state is None:
            game.reset(int(start.stream.integers(2**31)))
            if game.decision is None:
                raise InputError(f"story '{game.info.name}' ends before its first decision")
        else:
            game.restore(start.state)
        return Played(np.zeros(len(self._objectives)) + start.past, start.taken)

    def _step(self, chooser: PolicyChooser, active: Sequence[tuple[Game, Start, Played]]) -> None:
        asked: list[tuple[Game, Start, Played, Decision]] = []
        for game, start, played in active:
            decision = game.decision
            assert decision is not None, "those whose story ended are left out"
            if len(decision.options) == 1:
                played.total = played.total + self._rewards(game, 0)
                played.length += 1
            else:
                asked.append((game, start, played, decision))
        seeds = [int(start.stream.integers(SEED_RANGE)) for _, start, _, _ in asked]
        decisions = [decision for *_, decision in asked]
        initial = self._initial_log_probs(decisions)
        choices = chooser.choose(decisions, seeds)
        for (game, _, played, decision), choice, before in zip(asked, choices, initial, strict=True):
            played.decisions.append(decision)
            played.actions.append(choice.action)
            played.states.append(game.save())
            played.pasts.append(played.total)
            played.places.append(played.length)
            played.length += 1
            played.log_ratio += choice.info["log_prob"] - float(before[choice.action])
            played.total = played.total + self._rewards(game, choice.action)

    def _rewards(self, game: Game, action: int) -> FloatArray:
        counts = game.choose(action)
        return np.array([objective.reward(counts) for objective in self._objectives])

    def _initial_log_probs(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        missing = {one.key: one for one in decisions if one.key not in self._known}
        if missing:
            found = self._initial.log_probs(list(missing.values()))
            self._known.update(zip(missing, found, strict=True))
        return [self._known[one.key] for one in decisions]
