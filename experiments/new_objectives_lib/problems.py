"""Small decision problems with several objectives, as tables of steps."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pluralign as pl
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.games.state_graph import explore

# SciPy has no type annotations.
_sparse: Any = importlib.import_module("scipy.sparse")

OBJECTIVES = ("score", "harm_avoidance", "power_avoidance")
"""Objectives of stories."""
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_HOME, _GOLD, _GEM = (4, 2), (0, 2), (1, 4)
_ENEMIES, _DEATH = ((0, 3), (1, 2)), 0.1


@dataclass(frozen=True, eq=False)
class Problem:
    """A decision problem. State 0 is the end, and has no steps.

    Args:
        name: Name in reports.
        objectives: Names of the objectives.
        first: First step of each state, shape (states + 1,); the steps of a state are neighbours.
        transition: Probability of the next state, sparse, shape (steps, states).
        rewards: Expected rewards of each step, shape (steps, objectives).
        discount: Discount factor; 1 only without cycles.
        start: First state.
        front: Front of returns that is known, shape (points, objectives).
    """

    name: str
    objectives: tuple[str, ...]
    first: IntArray
    transition: Any
    rewards: FloatArray
    discount: float
    start: int
    front: FloatArray

    @property
    def owner(self) -> IntArray:
        """State of each step."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


def of_story(name: str) -> Problem:
    """A story's graph of states, with its exact front."""
    story = pl.open_story(name)
    graph = explore(story.make_game())
    objectives = [story.info.objective(one) for one in OBJECTIVES]
    steps = np.arange(len(graph.target))
    moves = _sparse.csr_array((np.ones(len(steps)), (steps, graph.target)), (len(steps), len(graph.states)))
    front = pl.exact_front(graph, objectives).points
    return Problem(
        name, OBJECTIVES, graph.first, moves, graph.rewards(objectives), 1.0, graph.start, front
    )  # fmt: skip


def deep_sea_treasure(name: str, table: Sequence[Sequence[float]], front: Any, discount: float) -> Problem:
    """Deep sea treasure (Vamplew et al. 2011): cells of -10 are rock, others above 0 are treasures.

    Args:
        name: Name in reports.
        table: Value of each cell; play starts at the first one.
        front: Reference front.
        discount: Discount factor; the reward of step t counts discount^(t - 1).
    """

    def step(cell: tuple[int, int], move: tuple[int, int]) -> Iterator[Outcome]:
        row, column = cell[0] + move[0], cell[1] + move[1]
        inside = 0 <= row < len(table) and 0 <= column < len(table[0]) and table[row][column] != -10
        after = (row, column) if inside else cell
        treasure = table[after[0]][after[1]]
        yield 1.0, None if treasure > 0 else after, (max(treasure, 0.0), -1.0)

    return _built(name, ("treasure", "time"), (0, 0), step, discount, front)


def resource_gathering(front: Any, discount: float) -> Problem:
    """Resource gathering (Barrett and Narayanan 2008): bring gold and a gem home past two enemies.

    Args:
        front: Reference front.
        discount: Discount factor; the reward of step t counts discount^t, as in the reference.
    """

    def step(state: tuple[int, int, bool, bool], move: tuple[int, int]) -> Iterator[Outcome]:
        row, column = (min(4, max(0, a + b)) for a, b in zip(state[:2], move, strict=True))
        gold, gem = state[2] or (row, column) == _GOLD, state[3] or (row, column) == _GEM
        if (row, column) in _ENEMIES:
            yield _DEATH, None, (-discount, 0.0, 0.0)
            yield 1 - _DEATH, (row, column, gold, gem), (0.0, 0.0, 0.0)
        elif (row, column) == _HOME:
            yield 1.0, None, (0.0, discount * gold, discount * gem)
        else:
            yield 1.0, (row, column, gold, gem), (0.0, 0.0, 0.0)

    return _built(
        "resource-gathering", ("survival", "gold", "gem"), (*_HOME, False, False), step, discount, front
    )


def fruit_tree(leaves: Any) -> Problem:
    """Fruit tree (Yang et al. 2019): a binary tree whose leaves have values of several objectives."""
    values = np.asarray(leaves, dtype=np.float64)
    depth = int(np.log2(len(values)))
    names = tuple(f"nutrient {number}" for number in range(1, values.shape[1] + 1))

    def step(path: tuple[int, ...], move: tuple[int, int]) -> Iterator[Outcome]:
        after = (*path, max(move))
        if len(after) < depth:
            yield 1.0, after, (0.0,) * len(names)
        else:
            yield 1.0, None, tuple(values[int("".join(map(str, after)), 2)].tolist())

    return _built("fruit-tree", names, (), step, 1.0, values, moves=((0, 0), (0, 1)))


Outcome = tuple[float, Any, tuple[float, ...]]
"""Probability, state that follows (None at the end), and rewards."""


def _built(
    name: str, objectives: tuple[str, ...], start: Any, step: Any, discount: float, front: Any,
    moves: Sequence[tuple[int, int]] = _MOVES,
) -> Problem:  # fmt: skip
    """The problem of all states that can be reached from the start."""
    numbers: dict[Any, int] = {None: 0, start: 1}
    order, rows, columns, shares = [start], list[int](), list[int](), list[float]()
    rewards: list[FloatArray] = []
    for state in order:
        for move in moves:
            reward = np.zeros(len(objectives))
            for share, after, own in step(state, move):
                if after not in numbers:
                    numbers[after] = len(numbers)
                    order.append(after)
                rows.append(len(rewards))
                columns.append(numbers[after])
                shares.append(share)
                reward += share * np.array(own)
            rewards.append(reward)
    first = np.concatenate([[0], np.arange(len(numbers)) * len(moves)])
    moved = _sparse.csr_array((shares, (rows, columns)), (len(rewards), len(numbers)))
    return Problem(
        name, objectives, first, moved, np.stack(rewards), discount, 1, np.asarray(front, dtype=np.float64)
    )  # fmt: skip


def problems(fronts: Mapping[str, Any], stories: Sequence[str], discount: float = 0.99) -> list[Problem]:
    """The problems of the experiment.

    Args:
        fronts: Reference fronts, as in ``morl_reference_fronts.json``.
        stories: Names of stories.
        discount: Discount factor of the problems with cycles, for which there is a front.
    """
    key = f"front_gamma_{discount:g}"
    seas = [f"deep-sea-treasure-{kind}" for kind in ("convex", "concave")]
    return [
        *(deep_sea_treasure(name, fronts[name]["map"], fronts[name][key], discount) for name in seas),
        resource_gathering(fronts["resource-gathering"][key], discount),
        fruit_tree(fronts["fruit-tree"]["depth_6_leaves"]),
        *map(of_story, stories),
    ]
