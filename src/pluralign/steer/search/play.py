"""The best whole play of a text game that a search finds within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pluralign.collect.roll_out import roll_out
from pluralign.core import InputError, Objective, SteeringWeights, Step, Trajectory, UniformPolicy
from pluralign.core.checks import checked, require_at_least, require_seed
from pluralign.games.game import Game
from pluralign.options.values import ValuePolicy
from pluralign.steer.search.orders import ORDERS, Order
from pluralign.steer.search.tree import Node, SearchTree
from pluralign.steer.search.values import PlayValues, as_values

PARALLEL = "parallel"
"""Name of the baseline: random plays, the best of them by its true return."""
METHODS = (*ORDERS, PARALLEL)
"""Names of all methods, the default first."""
MAX_STEPS = 200
INFO = "search"
"""Name of a play's figures in the information of its trajectory."""


@dataclass(frozen=True)
class FoundPlay:
    """The best whole play that was found, and what it cost.

    Args:
        trajectory: The play; its ``info`` has the other figures.
        total: Weighted sum of its returns, in scales.
        calls: Number of calls of `Game.choose` in total.
        completion: Number of them beyond the budget, which completed the play because none was whole yet.
        states: Number of different states met; 0 for random plays, which do not save them.
        plays: Number of whole plays met.
    """

    trajectory: Trajectory
    total: float
    calls: int
    completion: int
    states: int
    plays: int

    @classmethod
    def of(cls, trajectory: Trajectory) -> FoundPlay:
        """The play of a trajectory that a search wrote.

        Raises:
            InputError: It was not found by a search.
        """
        try:
            return cls(trajectory, **trajectory.info[INFO])
        except (KeyError, TypeError) as error:
            raise InputError(f"trajectory '{trajectory.id}' was not found by a search") from error


@checked
def search_play(
    game: Game, values: PlayValues | ValuePolicy | Mapping[str, ValuePolicy], weights: SteeringWeights, *,
    budget: float, method: str | Callable[[np.random.Generator], Order] = "beam", seed: int = 0,
    max_steps: int = MAX_STEPS,
) -> FoundPlay:  # fmt: skip
    """Search a text game for a good whole play, steered by values under weights.

    A search goes back to saved states and so needs a game that can `save` and `restore`. It costs calls of
    `Game.choose`, and stops when the budget is spent. If no play is whole by then, the most promising one is
    completed by the values, and the calls beyond the budget are reported.

    Args:
        game: Game; it is reset. In a game that draws random numbers the search sees those of the seed before
            it chooses.
        values: Values learned by `fit_q`, an agent for each objective or one model of any weights; or others
            (`PlayValues`).
        weights: Weights of the objectives.
        budget: Number of calls of `Game.choose`; infinity searches all states.
        method: Name of a method: beam, best-first, bavt or ved (`steer.search.orders`), or parallel, which
            plays at random and keeps the best play; or a function from random numbers to an order.
        seed: Random seed of the game and of methods that draw.
        max_steps: Number of steps after which a play is cut off.

    Raises:
        InputError: The game cannot save its state or has no such objectives, the budget is below 1, a weight
            is that of an unknown objective, or there is no such method.

    Examples:
        >>> import pluralign as pl
        >>> from pluralign.games.state_graph import explore
        >>> from pluralign.steer.search.values import ExactValues
        >>> story = pl.open_story("salt_ledger")
        >>> goals = story.info.select(["score", "harm_avoidance"])
        >>> values = ExactValues(explore(story.make_game()), goals)
        >>> weights = pl.SteeringWeights(score=0.5, harm_avoidance=0.5)
        >>> found = pl.search_play(story.make_game(), values, weights, budget=75)
        >>> found.calls <= 75, found.completion
        (True, 0)
    """
    require_seed(seed)
    require_at_least(1, max_steps=max_steps)
    _check(budget, method)
    known = as_values(values)
    weights.require_known(list(known.scales))
    policy = player_name(method if isinstance(method, str) else "search", budget)
    if method == PARALLEL:
        return _best_of_random(game, known.scales, weights, budget, seed, max_steps, policy)
    game.reset(seed)
    make_order = ORDERS[method] if isinstance(method, str) else method
    tree = SearchTree(game, known, weights, budget, max_steps)
    order = make_order(np.random.default_rng(seed))
    while tree.calls < budget and (node := order(tree)) is not None:
        tree.try_next(node)
    _complete(tree)
    return _found(tree, game, policy, seed)


def player_name(method: str, budget: float) -> str:
    """Name of a method with a budget, as the policy of its plays; the id of a play is NAME-SEED."""
    return f"{method}-{budget if math.isinf(budget) else int(budget)}"


def _check(budget: float, method: object) -> None:
    if not budget >= 1 or (math.isfinite(budget) and budget != int(budget)):
        raise InputError(f"must be a whole number from 1, or infinity, found {budget}", field="budget")
    if isinstance(method, str) and method not in METHODS:
        raise InputError(f"must be one of {', '.join(METHODS)}, found {method!r}", field="method")


def _complete(tree: SearchTree) -> None:
    """Go on from the most promising state until a play is whole; nothing is done if one is.

    Raises:
        InputError: No play is ever whole.
    """
    node: Node | None = None
    while tree.plays == 0:
        # Of a state met before, the options that promise most have been tried: play goes on behind them.
        if node is None or node.edges:
            node = tree.most_promising()
        if node is None:
            raise InputError("no play ends: every option leads back to where play came from")
        node = tree.try_next(node)


def _found(tree: SearchTree, game: Game, policy: str, seed: int) -> FoundPlay:
    last = tree.best()
    assert last is not None, "a play was completed"
    steps, ended = _steps(last, game.info.select(list(tree.scales)))
    trajectory = Trajectory(
        f"{policy}-{seed}", game.info.name, policy, seed, steps, terminated=ended, truncated=not ended
    )
    figures = {
        "total": last[0].gained + last[0].edges[last[1]].reward, "calls": tree.calls,
        "completion": int(max(0, tree.calls - tree.budget)), "states": len(tree.nodes), "plays": tree.plays,
    }  # fmt: skip
    return FoundPlay.of(replace(trajectory, info={INFO: figures}))


def _steps(last: tuple[Node, int], objectives: Sequence[Objective]) -> tuple[tuple[Step, ...], bool]:
    """The steps from the start to an ending, and whether the game ended there."""
    way: list[tuple[Node, int]] = []
    here: tuple[Node, int] | None = last
    while here is not None:
        way.append(here)
        here = here[0].before
    taken = [(node, action, node.edges[action]) for node, action in reversed(way)]
    steps = [
        Step(
            node.decision, action, {one.name: one.reward(edge.counts) for one in objectives}, edge.counts,
            edge.text,
        )
        for node, action, edge in taken
    ]  # fmt: skip
    return tuple(steps), taken[-1][2].ended


def _best_of_random(
    game: Game, scales: Mapping[str, float], weights: SteeringWeights, budget: float, seed: int,
    max_steps: int, policy: str,
) -> FoundPlay:  # fmt: skip
    """Random plays as long as they fit the budget; the first is completed in any case."""
    if math.isinf(budget):
        raise InputError("must be finite for random plays", field="budget")
    objectives = game.info.select(list(scales))
    best: Trajectory | None = None
    most, calls, plays = -math.inf, 0, 0
    for played in roll_out(
        lambda: game, UniformPolicy(), episodes=int(budget), seed=seed, objectives=objectives,
        max_steps=max_steps, batch=1,
    ):  # fmt: skip
        if best is not None and calls + len(played.steps) > budget:
            # The play that the budget interrupts costs what was left of it.
            calls = int(budget)
            break
        calls, plays = calls + len(played.steps), plays + 1
        total = sum(weights.get(name, 0.0) / scales[name] * value for name, value in played.returns().items())
        if total > most:
            best, most = played, total
        if calls >= budget:
            break
    assert best is not None, "the first play is always completed"
    figures = {
        "total": most, "calls": calls, "completion": int(max(0, calls - budget)), "states": 0, "plays": plays
    }  # fmt: skip
    return FoundPlay.of(replace(best, id=f"{policy}-{seed}", policy=policy, info={INFO: figures}))
