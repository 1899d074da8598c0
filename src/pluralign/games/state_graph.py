"""Every state that play can reach, explored once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError, Objective
from pluralign.games.game import Game

END = 0
"""The state that stands for every ending: nothing follows any of them."""


@dataclass(frozen=True, eq=False)
class StateGraph:
    """All reachable states of a game and the steps between them.

    Args:
        states: the saved state of each; None for `END`. The start is state 1, or `END` itself where a
            game has no decision.
        decisions: the distinct decisions.
        decision_of: shape (states,), index of each state's decision; -1 for `END`.
        first: shape (states + 1,), where each state's edges begin; edge ``first[s] + a`` is action a.
        target: shape (edges,), the state that follows.
        counts: the distinct steps' counts.
        counts_of: shape (edges,), index of each edge's counts.
    """

    states: tuple[Hashable, ...]
    decisions: tuple[Decision, ...]
    decision_of: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    counts: tuple[Mapping[str, float], ...]
    counts_of: npt.NDArray[np.int64]

    @property
    def start(self) -> int:
        """The state that play begins in."""
        return 1 if len(self.states) > 1 else END

    def rewards(self, objectives: Sequence[Objective]) -> npt.NDArray[np.float64]:
        """The reward of every edge, shape (edges, objectives)."""
        table = [[objective.reward(counts) for objective in objectives] for counts in self.counts]
        return np.array(table, dtype=np.float64).reshape(len(table), len(objectives))[self.counts_of]

    @cached_property
    def backwards(self) -> npt.NDArray[np.int64]:
        """All states, each after every state that can follow it.

        Raises:
            InputError: play can come back to a state, so that it may never end.
        """
        order = self._order()
        if len(order) < len(self.states):
            raise InputError(f"play can go on for ever: a state comes back after {len(self.cycle())} steps")
        return np.array(order, dtype=np.int64)

    def cycle(self) -> list[int]:
        """States that follow each other in a circle; empty where every episode ends."""
        settled = set(self._order())
        state = next((s for s in range(len(self.states)) if s not in settled), None)
        walked: dict[int, int] = {}
        while state is not None and state not in walked:
            walked[state] = len(walked)
            edges = self.target[self.first[state] : self.first[state + 1]]
            state = next(int(s) for s in edges if int(s) not in settled)
        return [] if state is None else list(walked)[walked[state] :]

    def _order(self) -> list[int]:
        left: list[int] = np.diff(self.first).tolist()
        earlier: list[list[int]] = [[] for _ in self.states]
        owner: list[int] = np.repeat(np.arange(len(self.states)), np.diff(self.first)).tolist()
        for state, following in zip(owner, self.target.tolist(), strict=True):
            earlier[following].append(state)
        order: list[int] = [state for state, edges in enumerate(left) if edges == 0]
        for state in order:
            for before in earlier[state]:
                left[before] -= 1
                if left[before] == 0:
                    order.append(before)
        return order


def explore(
    game: Game, *, max_states: int | None = None, errors: list[InputError] | None = None
) -> StateGraph:
    """Walk every state that play can reach. The game is left in any of them.

    Args:
        game: saves and restores its states.
        max_states: Largest number of states; by default the game's own, ``game.info.max_states``.
        errors: where given, the errors of play are added to it and count as endings.

    Raises:
        InputError: chance plays a part in the game, there are more states, or the game's source is at fault
            and ``errors`` is None.
    """
    if game.info.random:
        raise InputError(
            f"chance plays a part in '{game.info.name}': one seed's states are not all there are"
        )
    builder = _Builder(game.info.max_states if max_states is None else max_states)
    game.reset()
    if game.decision is not None:
        builder.state(game)
    here = 1
    while here < len(builder.states):
        decision = builder.decisions[builder.decision_of[here]]
        for action in range(len(decision.options)):
            game.restore(builder.states[here])
            try:
                counts = game.choose(action)
            except InputError as error:
                if errors is None:
                    raise
                errors.append(error)
                builder.edge(END, {})
                continue
            builder.edge(END if game.decision is None else builder.state(game), counts)
        builder.first.append(len(builder.target))
        here += 1
    return builder.graph()


class _Builder:
    def __init__(self, max_states: int) -> None:
        self.max_states = max_states
        self.states: list[Hashable] = [None]
        self.index: dict[Hashable, int] = {}
        self.decisions: list[Decision] = []
        self.decision_index: dict[Decision, int] = {}
        self.decision_of: list[int] = [-1]
        self.first: list[int] = [0, 0]
        self.target: list[int] = []
        self.counts: list[Mapping[str, float]] = []
        self.counts_index: dict[tuple[tuple[str, float], ...], int] = {}
        self.counts_of: list[int] = []

    def state(self, game: Game) -> int:
        saved = game.save()
        found = self.index.get(saved)
        if found is not None:
            return found
        if len(self.states) > self.max_states:
            raise InputError(f"more than {self.max_states} states can be reached")
        decision = game.decision
        assert decision is not None
        number = self.decision_index.setdefault(decision, len(self.decisions))
        if number == len(self.decisions):
            self.decisions.append(decision)
        self.index[saved] = len(self.states)
        self.states.append(saved)
        self.decision_of.append(number)
        return len(self.states) - 1

    def edge(self, target: int, counts: Mapping[str, float]) -> None:
        key = tuple(sorted(counts.items()))
        number = self.counts_index.setdefault(key, len(self.counts))
        if number == len(self.counts):
            self.counts.append(dict(counts))
        self.target.append(target)
        self.counts_of.append(number)

    def graph(self) -> StateGraph:
        return StateGraph(
            tuple(self.states),
            tuple(self.decisions),
            np.array(self.decision_of, dtype=np.int64),
            np.array(self.first[: len(self.states) + 1], dtype=np.int64),
            np.array(self.target, dtype=np.int64),
            tuple(self.counts),
            np.array(self.counts_of, dtype=np.int64),
        )
