"""The states of a game that a search has met, and the best known way to each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pluralign.core import Decision, InputError, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.games.game import Game
from pluralign.steer.search.values import PlayValues

LEAST = 1e-3
"""Smallest number that values are mapped to: at 0 no exponent could choose a state any more."""
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Edge:
    """A step that was tried.

    Args:
        counts: Counts of the step.
        reward: Weighted sum of its rewards, in scales.
        node: State that follows; None if the game ended, or the play was cut off at its greatest length.
        ended: Whether the game ended.
        text: Text of the ending.
    """

    counts: Mapping[str, float]
    reward: float
    node: Node | None = None
    ended: bool = False
    text: str = ""


@dataclass(eq=False)
class Node:
    """A saved state.

    Args:
        state: State as the game saves it.
        decision: Decision that it shows.
        rests: Estimated weighted sum of what is still to come after each option, in scales, shape (options,).
        gained: Weighted sum of the rewards on the best known way to the state.
        depth: Number of steps on this way.
        before: State before it and option taken there; None at the start.
    """

    state: Hashable
    decision: Decision
    rests: FloatArray
    gained: float = 0.0
    depth: int = 0
    before: tuple[Node, int] | None = None
    edges: dict[int, Edge] = field(default_factory=dict[int, Edge])
    waiting: list[int] = field(init=False)
    """Options that were not tried, the most promising first."""

    def __post_init__(self) -> None:
        self.waiting = np.argsort(-self.rests, kind="stable").tolist()

    @property
    def estimate(self) -> float:
        """Estimated weighted sum of the best play through the state."""
        return self.gained + float(self.rests.max())

    @property
    def promise(self) -> float:
        """The same for plays that go on with an untried option; there must be one."""
        return self.gained + float(self.rests[self.waiting[0]])

    @property
    def following(self) -> list[Node]:
        """States that follow, without those that play came through."""
        found = [edge.node for edge in self.edges.values()]
        return [node for node in found if node is not None and node.depth > self.depth]


class SearchTree:
    """The states met so far. States that are met twice are one node, with the better of the ways to it.

    No play returns to one of its own states, so that games in which play can go in circles are searched, too.

    Args:
        game: Game, at the start of an episode.
        values: Estimates of what is still to come.
        weights: Weights of the objectives.
        budget: Number of calls of `Game.choose` that the search may make; infinity for no limit.
        max_steps: Number of steps after which a play is cut off.

    Raises:
        InputError: The game cannot save its state, or has no decision.
    """

    def __init__(
        self, game: Game, values: PlayValues, weights: SteeringWeights, budget: float, max_steps: int
    ) -> None:
        self._game, self._values, self._weights, self._max_steps = game, values, weights, max_steps
        self.scales = dict(values.scales)
        objectives = game.info.select(list(values.scales))
        factors = [weights.get(one.name, 0.0) / values.scales[one.name] for one in objectives]
        self._weighted = [(one, factor) for one, factor in zip(objectives, factors, strict=True) if factor]
        self.budget, self.calls, self.plays = budget, 0, 0
        self._low, self._high = np.inf, -np.inf
        self.nodes: dict[Hashable, Node] = {}
        self.open: dict[Hashable, Node] = {}
        """States with untried options."""
        state = _saved(game)
        if game.decision is None:
            raise InputError(f"story '{game.info.name}' ends before its first decision")
        self.root = self._add(state, game.decision)
        self._at: Hashable = state

    @property
    def left(self) -> float:
        """Share of the budget that is left, from 0 to 1."""
        return 1.0 if np.isinf(self.budget) else max(0.0, 1.0 - self.calls / self.budget)

    def unit(self, value: float) -> float:
        """A weighted sum on a scale from `LEAST` to 1: the smallest and the largest met so far."""
        span = self._high - self._low
        return max(LEAST, (value - self._low) / span) if span > 0 else 1.0

    def try_next(self, node: Node) -> Node | None:
        """Take the most promising option of a state that was not tried, at the cost of one call.

        Returns:
            The state that follows; None if there is none to go on from.
        """
        action, game = node.waiting.pop(0), self._game
        if not node.waiting:
            del self.open[node.state]
        if self._at != node.state:
            game.restore(node.state)
        counts = game.choose(action)
        self.calls += 1
        reward = sum(factor * objective.reward(counts) for objective, factor in self._weighted)
        decision = game.decision
        self._at = None if decision is None else game.save()
        if decision is None or node.depth + 1 >= self._max_steps:
            text = game.text if decision is None else ""
            node.edges[action] = Edge(dict(counts), reward, ended=decision is None, text=text)
            self.plays += 1
            self._see(node.gained + reward)
            return None
        known = self.nodes.get(self._at) or self._add(self._at, decision, (node, action), reward)
        node.edges[action] = Edge(dict(counts), reward, known)
        self._improve(node, action)
        return known

    def best(self) -> tuple[Node, int] | None:
        """The last state of the best whole play and the option taken there; None if there is no whole play.
        Of equal ones the first is kept."""
        best: tuple[Node, int] | None = None
        most = -np.inf
        for node in self.nodes.values():
            for action, edge in node.edges.items():
                if edge.node is None and node.gained + edge.reward > most + _ROUNDING:
                    best, most = (node, action), node.gained + edge.reward
        return best

    def most_promising(self) -> Node | None:
        """The state with the most promising untried option; None if there is none. Of equal ones the first is
        kept."""
        return max(self.open.values(), key=lambda node: node.promise, default=None)

    def _add(
        self, state: Hashable, decision: Decision, before: tuple[Node, int] | None = None, reward: float = 0.0
    ) -> Node:
        rests = self._values.rests(decision, state, self._weights)
        gained, depth = (0.0, 0) if before is None else (before[0].gained + reward, before[0].depth + 1)
        node = Node(state, decision, rests, gained, depth, before)
        self.nodes[state] = self.open[state] = node
        self._see(node.estimate)
        return node

    def _see(self, value: float) -> None:
        self._low, self._high = min(self._low, value), max(self._high, value)

    def _improve(self, node: Node, action: int) -> None:
        """Adopt a better way to a known state, and update the states after it."""
        todo = [(node, action)]
        while todo:
            node, action = todo.pop()
            edge = node.edges[action]
            after = edge.node
            gained = node.gained + edge.reward
            if after is None or gained <= after.gained + _ROUNDING or _came_through(node, after):
                continue
            if not self._ends_in_time(after, node.depth + 1):
                continue
            if node.depth + 1 < after.depth:
                self._reopen(after)
            after.before, after.gained, after.depth = (node, action), gained, node.depth + 1
            self._see(after.estimate)
            todo += [(after, further) for further in after.edges]

    def _ends_in_time(self, node: Node, depth: int) -> bool:
        """Whether no play through a state is longer than allowed if the way to the state has this length."""
        todo = [(node, depth)] if depth > node.depth else []
        while todo:
            node, depth = todo.pop()
            if depth >= self._max_steps:
                return False
            after = [edge.node for edge in node.edges.values() if edge.node is not None]
            todo += [(own, depth + 1) for own in after if own.before is not None and own.before[0] is node]
        return True

    def _reopen(self, node: Node) -> None:
        """Forget plays that were cut off after a state: on a shorter way to it they go on."""
        cut = [action for action, edge in node.edges.items() if edge.node is None and not edge.ended]
        for action in cut:
            del node.edges[action]
        if cut:
            self.plays -= len(cut)
            node.waiting = sorted([*node.waiting, *cut], key=lambda action: -float(node.rests[action]))
            self.open[node.state] = node


def _came_through(node: Node, earlier: Node) -> bool:
    """Whether the best known way to a state passes through another one, or the two are the same."""
    here: Node | None = node
    while here is not None:
        if here is earlier:
            return True
        here = None if here.before is None else here.before[0]
    return False


def _saved(game: Game) -> Hashable:
    """The state of a game.

    Raises:
        InputError: The game cannot save or restore it.
    """
    try:
        state = game.save()
        game.restore(state)
        hash(state)
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise InputError(
            f"game '{game.info.name}' cannot save and restore its state ({error}); a search goes back to "
            "earlier states and needs both"
        ) from error
    return state
