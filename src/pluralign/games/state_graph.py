"""The graph of all states that play can reach."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError, Objective
from pluralign.games.game import Game

END = 0
"""Number of the state that all endings share; it has no successors."""


@dataclass(frozen=True, eq=False)
class StateGraph:
    """All reachable states of a game and the steps between them, one edge per state and action.

    Args:
        states: Saved state of each; None for `END`. The start is state 1, or `END` itself if the game has
            no decision.
        decisions: Distinct decisions.
        decision_of: Index of each state's decision, shape (states,); -1 for `END`.
        first: First edge of each state, shape (states + 1,); edge ``first[s] + a`` is action a.
        target: Next state of each edge, shape (edges,).
        counts: Distinct counts of steps, by metric name.
        counts_of: Index of each edge's counts, shape (edges,).
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
        """Number of the initial state."""
        return 1 if len(self.states) > 1 else END

    def rewards(self, objectives: Sequence[Objective]) -> npt.NDArray[np.float64]:
        """The reward of every edge, shape (edges, objectives)."""
        table = [[objective.reward(counts) for objective in objectives] for counts in self.counts]
        return np.array(table, dtype=np.float64).reshape(len(table), len(objectives))[self.counts_of]

    @cached_property
    def backwards(self) -> npt.NDArray[np.int64]:
        """Numbers of all states in reverse topological order (successors first), shape (states,).

        Raises:
            InputError: The graph has a cycle, so that an episode may never end.
        """
        order = self._order()
        if len(order) < len(self.states):
            raise InputError(f"play can go on forever: a state repeats after {len(self.cycle())} steps")
        return np.array(order, dtype=np.int64)

    def cycle(self) -> list[int]:
        """Numbers of the states of one cycle; empty if every episode ends."""
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
        targets: list[int] = self.target.tolist()
        owner: list[int] = np.repeat(np.arange(len(self.states)), np.diff(self.first)).tolist()
        for state, following in zip(owner, targets, strict=True):
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
    """Explore all states that play can reach, breadth first. The game is left in an arbitrary state.

    Args:
        game: Game to explore, by saving and restoring its states.
        max_states: Largest number of states; by default the game's own, ``game.info.max_states``.
        errors: List that errors of play are added to; such steps then count as endings.

    Raises:
        InputError: This is no game; or it draws random numbers, has more states, or its source has an error
            and ``errors`` is None.
    """
    if not hasattr(game, "restore"):
        raise InputError(
            f"expected a game, as story.make_game() makes one, found a {type(game).__name__}", field="game"
        )
    if game.info.random:
        raise InputError(
            f"'{game.info.name}' draws random numbers: the states of one seed are not all states"
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
