"""Exact attainable returns of a game, by dynamic programming over all reachable states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, Objective, Policy
from pluralign.core.checks import checked
from pluralign.core.objective import require_goals
from pluralign.core.pareto import undominated_rows
from pluralign.games.game import Game
from pluralign.games.state_graph import END, StateGraph, explore

# Decimals to which sums of rewards are rounded where they are compared, so that the order of float additions
# does not matter.
_DECIMALS = 9

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExactFront:
    """The Pareto front of a game's returns.

    Args:
        objectives: Objectives, in the order of the columns.
        points: Non-dominated returns, shape (points, objectives), sorted by decreasing first objective.
        best: Highest attainable return of each objective by itself, shape (objectives,).
        worst: Lowest attainable return of each objective, shape (objectives,).
        states: Number of explored states, endings excluded.
    """

    objectives: tuple[Objective, ...]
    points: Points
    best: Points
    worst: Points
    states: int
    _graph: StateGraph = field(repr=False)
    _fronts: Sequence[Points] = field(repr=False)
    _rewards: Points = field(repr=False)

    def plan(self, index: int) -> list[int]:
        """Actions that attain ``points[index]``, from the start to an ending.

        Args:
            index: Row of `points`.
        """
        state = self._graph.start
        goal = self._fronts[state][index]
        actions: list[int] = []
        while state != END:
            first, last = self._graph.first[state], self._graph.first[state + 1]
            for edge in range(first, last):
                following = int(self._graph.target[edge])
                reached = self._fronts[following] + self._rewards[edge]
                hits = np.flatnonzero((reached == goal).all(axis=1))
                if len(hits):
                    actions.append(edge - first)
                    state, goal = following, self._fronts[following][hits[0]]
                    break
            else:  # pragma: no cover - every point of a front has its edge
                raise AssertionError(f"no way from state {state} to {goal}")
        return actions


@checked
def exact_front(
    game: Game | StateGraph, objectives: Sequence[Objective], *, max_states: int | None = None
) -> ExactFront:
    """The Pareto front of the returns of all deterministic episodes of a game.

    Works backwards through the states: the front of a state is the non-dominated part of each action's reward
    plus the front of the state that follows (White 1982, "Multi-objective infinite-horizon discounted Markov
    decision processes"; here the horizon is finite and nothing is discounted).

    Args:
        game: Game, or its states if they are explored already.
        objectives: One or more objectives.
        max_states: Largest number of states; by default the game's own, ``game.info.max_states``.

    Raises:
        InputError: No objective is given, there are too many states, or an episode can go on forever.

    Examples:
        >>> import pluralign as pl
        >>> from pluralign.games.state_graph import explore
        >>> story = pl.open_story("salt_ledger")
        >>> graph = explore(story.make_game())
        >>> objectives = [story.info.objective(name) for name in ("score", "harm_avoidance")]
        >>> front = pl.exact_front(graph, objectives)
        >>> front.points.shape[1]
        2
    """
    if not objectives:
        raise InputError("an exact front needs at least one objective", field="objectives")
    require_goals(objectives)
    graph = game if isinstance(game, StateGraph) else explore(game, max_states=max_states)
    rewards = graph.rewards(objectives)
    fronts: list[Points] = [np.zeros((1, len(objectives)))] * len(graph.states)
    best = np.zeros((len(graph.states), len(objectives)))
    worst = np.zeros_like(best)
    for state in graph.backwards.tolist():
        if state == END:
            continue
        edges = slice(graph.first[state], graph.first[state + 1])
        targets = graph.target[edges]
        best[state] = (rewards[edges] + best[targets]).max(axis=0)
        worst[state] = (rewards[edges] + worst[targets]).min(axis=0)
        parts: list[Points] = [fronts[t] + r for t, r in zip(targets.tolist(), rewards[edges], strict=True)]
        sums: Points = np.concatenate(parts)
        # The sums stay as they are: what steps round away would add up.
        fronts[state] = sums[undominated_rows(_rounded(sums))]
    start = graph.start
    return ExactFront(
        objectives=tuple(objectives),
        points=_rounded(fronts[start]),
        best=_rounded(best[start]),
        worst=_rounded(worst[start]),
        states=len(graph.states) - 1,
        _graph=graph,
        _fronts=fronts,
        _rewards=rewards,
    )


def _rounded(sums: Points) -> Points:
    # Without the sign of -0.
    return sums.round(_DECIMALS) + 0.0


@dataclass(frozen=True)
class ExactReturns:
    """Exact expected returns of a policy.

    Args:
        counts: Expected sum over an episode, by metric name; metrics that no step counts are absent.
        objectives: Expected return, by objective name.
        steps: Expected number of decisions per episode.
    """

    counts: Mapping[str, float]
    objectives: Mapping[str, float]
    steps: float


@checked
def exact_returns(
    game: Game | StateGraph,
    policy: Policy,
    objectives: Sequence[Objective] = (),
    *,
    max_states: int | None = None,
) -> ExactReturns:
    """Exact expected returns of a stochastic policy, without sampling.

    The policy is called once, with all distinct decisions.

    Args:
        game: Game, or its states if they are explored already.
        policy: Policy to evaluate.
        objectives: Objectives whose expected returns are computed.
        max_states: Largest number of states; by default the game's own, ``game.info.max_states``.

    Raises:
        InputError: There are too many states, an episode can go on forever, or the policy's
            probabilities do not fit the options.
    """
    require_goals(objectives)
    graph = game if isinstance(game, StateGraph) else explore(game, max_states=max_states)
    probabilities = _probabilities(graph, policy)
    mass = np.zeros(len(graph.states))
    mass[graph.start] = 1.0
    taken = np.zeros(len(graph.target))
    for state in graph.backwards[::-1].tolist():
        if state == END:
            continue
        edges = slice(graph.first[state], graph.first[state + 1])
        taken[edges] = mass[state] * probabilities[graph.decision_of[state]]
        np.add.at(mass, graph.target[edges], taken[edges])
    weight = np.bincount(graph.counts_of, weights=taken, minlength=len(graph.counts))
    totals: dict[str, float] = {}
    for share, counts in zip(weight.tolist(), graph.counts, strict=True):
        for metric, count in counts.items():
            totals[metric] = totals.get(metric, 0.0) + share * count
    return ExactReturns(
        counts=totals,
        objectives={objective.name: objective.reward(totals) for objective in objectives},
        steps=float(mass[1:].sum()),
    )


def _probabilities(graph: StateGraph, policy: Policy) -> list[npt.NDArray[np.float64]]:
    if not graph.decisions:
        return []
    found = [np.exp(log_probs) for log_probs in policy.log_probs(graph.decisions)]
    for decision, probabilities in zip(graph.decisions, found, strict=True):
        # NaN is no sum of one.
        if probabilities.shape != (len(decision.options),) or not abs(probabilities.sum() - 1.0) <= 1e-6:
            raise InputError(
                f"policy '{policy.name}' must give {len(decision.options)} probabilities that sum to one, "
                f"found {probabilities.tolist()} for {decision.prompt[-60:]!r}"
            )
    return found


@checked
def exact_values(
    graph: StateGraph, policy: Policy, objectives: Sequence[Objective]
) -> npt.NDArray[np.float64]:
    """Expected return of a stochastic policy from each state on, without sampling.

    Args:
        graph: All states of a game (`games.state_graph.explore`).
        policy: Policy that acts; it is called once, with all distinct decisions.
        objectives: Objectives of the returns.

    Returns:
        Values of shape (states, objectives); 0 at the end.

    Raises:
        InputError: An episode can go on forever, or the policy's probabilities do not fit the options.
    """
    require_goals(objectives)
    probabilities = _probabilities(graph, policy)
    rewards = graph.rewards(objectives)
    values = np.zeros((len(graph.states), len(objectives)))
    for state in graph.backwards.tolist():
        if state != END:
            edges = slice(graph.first[state], graph.first[state + 1])
            following = rewards[edges] + values[graph.target[edges]]
            values[state] = probabilities[graph.decision_of[state]] @ following
    return values
