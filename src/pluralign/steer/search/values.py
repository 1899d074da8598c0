"""Values that a search is steered by: learned ones, and the exact ones of a story whose states are known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import numpy as np

from pluralign.core import Decision, InputError, Objective, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.digests import digest
from pluralign.core.returns import TIE
from pluralign.games.state_graph import END, StateGraph
from pluralign.options.values import ValuePolicy
from pluralign.steer.value_steered import ValueSteeredPolicy


class PlayValues(Protocol):
    """Estimates of what is still to come after each option."""

    @property
    def scales(self) -> Mapping[str, float]:
        """Return of each objective that counts as 1 in weighted sums, above 0."""
        ...

    @property
    def digest(self) -> str:
        """Identifier of the values, for files that are continued."""
        ...

    def rests(self, decision: Decision, state: Hashable, weights: SteeringWeights) -> FloatArray:
        """Weighted sums of the returns to expect from each option on, in scales, shape (options,).

        Args:
            decision: Decision that a game shows.
            state: State of the game as it saves it; learned values do not read it.
            weights: Weights of the objectives.
        """
        ...


class LearnedValues:
    """Values that `learn q` learned, by generalised policy improvement (`ValueSteeredPolicy`).

    Args:
        agents: Agent of each objective; or one model of any weights, for all of its objectives.

    Raises:
        InputError: An agent has no values of an objective, or a single one was trained for fixed weights.
    """

    def __init__(self, agents: Mapping[str, ValuePolicy] | ValuePolicy) -> None:
        if isinstance(agents, ValuePolicy):
            if not agents.conditioned:
                raise InputError(
                    f"{agents.name!r} was trained for fixed weights; give an agent for each objective",
                    field="values",
                )
            agents = dict.fromkeys(agents.objectives, agents)
        for name, agent in agents.items():
            if not isinstance(agent, ValuePolicy):
                raise InputError(f"the agent of {name!r} has no values; learn it with fit_q", field="values")
        self._agents = dict(agents)
        weights = SteeringWeights.uniform(list(agents))
        self._steered = {weights: ValueSteeredPolicy(agents, weights)}
        self.scales: Mapping[str, float] = self._steered[weights].scales
        self._known: dict[tuple[SteeringWeights, str], FloatArray] = {}

    @property
    def digest(self) -> str:
        """See `PlayValues.digest`: that of all weights of the agents' networks and their meaning."""
        parts: list[bytes] = []
        for name, agent in self._agents.items():
            parts += [f"{name} {agent.units} {dict(agent.weights)} {agent.source.fingerprint}".encode()]
            parts += [one.cpu().float().numpy().tobytes() for one in agent.head.state_dict().values()]
        return digest(parts)

    def rests(self, decision: Decision, state: Hashable, weights: SteeringWeights) -> FloatArray:
        """See `PlayValues.rests`."""
        key = weights, decision.key
        if key not in self._known:
            if weights not in self._steered:
                self._steered[weights] = ValueSteeredPolicy(self._agents, weights)
            (self._known[key],) = self._steered[weights].totals([decision])
        return self._known[key]


def as_values(values: PlayValues | ValuePolicy | Mapping[str, ValuePolicy]) -> PlayValues:
    """Values of any of these kinds as `PlayValues`.

    Raises:
        InputError: They are none, or see `LearnedValues`.
    """
    if isinstance(values, ValuePolicy | Mapping):
        return LearnedValues(values)
    if not hasattr(values, "rests"):
        raise InputError(f"expected values that fit_q learned, found {values!r:.60}", field="values")
    return values


class ExactValues:
    """Exact values of a story's states under any weights, by backward induction.

    Args:
        graph: All states of the story (`games.state_graph.explore`).
        objectives: Objectives of the values.
        scales: Return of each objective that counts as 1; by default the range from the worst to the best
            attainable one.

    Raises:
        InputError: An episode can go on forever.

    Examples:
        >>> import pluralign as pl
        >>> from pluralign.games.state_graph import explore
        >>> story = pl.open_story("salt_ledger")
        >>> goals = story.info.select(["score", "harm_avoidance"])
        >>> values = ExactValues(explore(story.make_game()), goals)
        >>> worst, best = values.attainable(pl.SteeringWeights(score=1.0))
        >>> round(best * values.scales["score"])
        640
    """

    def __init__(
        self, graph: StateGraph, objectives: Sequence[Objective], scales: Mapping[str, float] | None = None
    ) -> None:
        self._graph, self._names = graph, [one.name for one in objectives]
        self._rewards = graph.rewards(objectives)
        self.scales: Mapping[str, float] = self._ranges() if scales is None else dict(scales)
        self._numbers = {state: number for number, state in enumerate(graph.states) if number != END}
        self._known: dict[SteeringWeights, tuple[FloatArray, FloatArray]] = {}

    @property
    def digest(self) -> str:
        """See `PlayValues.digest`."""
        return digest(
            [str(dict(self.scales)).encode(), self._rewards.tobytes(), self._graph.target.tobytes()]
        )

    def rests(self, decision: Decision, state: Hashable, weights: SteeringWeights) -> FloatArray:
        """See `PlayValues.rests`.

        Raises:
            InputError: The state is not one of the story's.
        """
        if weights not in self._known:
            rewards = self._weighted(weights)
            self._known[weights] = rewards, _best_rests(self._graph, rewards)
        rewards, rests = self._known[weights]
        number = self._numbers.get(state)
        if number is None:
            raise InputError("the game is in a state that the values do not know: they are another story's")
        edges = slice(self._graph.first[number], self._graph.first[number + 1])
        found: FloatArray = rewards[edges] + rests[self._graph.target[edges]]
        return found

    def attainable(self, weights: SteeringWeights) -> tuple[float, float]:
        """Weighted sums of returns of the worst and the best play, in scales."""
        rewards, start = self._weighted(weights), self._graph.start
        worst = -float(_best_rests(self._graph, -rewards)[start])
        best = float(_best_rests(self._graph, rewards)[start])
        return worst, best if best - worst > TIE else worst

    def _weighted(self, weights: SteeringWeights) -> FloatArray:
        factors = weights.aligned_to(self._names) / np.array([self.scales[name] for name in self._names])
        weighted: FloatArray = self._rewards @ factors
        return weighted

    def _ranges(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, rewards in zip(self._names, self._rewards.T, strict=True):
            best, worst = (
                sign * _best_rests(self._graph, sign * rewards)[self._graph.start] for sign in (1, -1)
            )
            # An objective that all plays serve alike has no range but what sums are rounded by.
            found[name] = float(best - worst) if best - worst > TIE else 1.0
        return found


def _best_rests(graph: StateGraph, rewards: FloatArray) -> FloatArray:
    """Largest sum of rewards from each state to the end, shape (states,); rewards have shape (edges,)."""
    best = np.zeros(len(graph.states))
    for state in graph.backwards.tolist():
        if state != END:
            edges = slice(graph.first[state], graph.first[state + 1])
            best[state] = (rewards[edges] + best[graph.target[edges]]).max()
    return best
