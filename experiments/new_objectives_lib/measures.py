"""Exact planning, exact successor measures, and reward-free representations on tables."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from new_objectives_lib.problems import Problem
from pluralign.core.arrays import FloatArray, IntArray

# SciPy has no type annotations.
_sparse: Any = importlib.import_module("scipy.sparse")
_linalg: Any = importlib.import_module("scipy.sparse.linalg")
_TIE, _ROUNDS = 1e-10, 200


def best_steps(problem: Problem, values: FloatArray) -> IntArray:
    """The step with the highest value in each state but the end, the first of equals; shape (states - 1,)."""
    starts = problem.first[1:-1]
    top = np.maximum.reduceat(values, starts)
    good = np.flatnonzero(values >= np.repeat(top, np.diff(problem.first[1:])) - _TIE)
    return good[np.searchsorted(good, starts)]


def plan(problem: Problem, reward: FloatArray) -> IntArray:
    """The best steps for a reward of steps, shape (steps,), by policy iteration."""
    steps = best_steps(problem, reward)
    for _ in range(_ROUNDS):
        values = step_values(problem, steps, reward[:, None])[:, 0]
        new = best_steps(problem, values)
        # Equals do not replace what is taken, or the search might never end.
        new = np.where(values[new] > values[steps] + _TIE, new, steps)
        if (new == steps).all():
            break
        steps = new
    return steps


def step_values(problem: Problem, steps: IntArray, rewards: FloatArray | None = None) -> FloatArray:
    """Returns of each step, then of the policy that takes these; shape (steps, objectives).

    Args:
        problem: Problem.
        steps: Step that is taken in each state.
        rewards: Rewards of steps, shape (steps, objectives); by default the problem's.
    """
    states, known = len(problem.first) - 1, problem.rewards if rewards is None else rewards
    moves = _sparse.vstack([_sparse.csr_array((1, states)), problem.transition[steps]]).tocsc()
    own = np.vstack([np.zeros((1, known.shape[1])), known[steps]])
    system = _sparse.eye_array(states, format="csc") - problem.discount * moves
    return known + problem.discount * (problem.transition @ _linalg.splu(system).solve(own))


def returns(problem: Problem, steps: IntArray) -> FloatArray:
    """Returns of the policy that takes these steps, from the start, shape (objectives,)."""
    return step_values(problem, steps)[steps[problem.start - 1]]


def successor_operator(problem: Problem, shares: FloatArray) -> Any:
    """The successor measure M = (I - discount T Pi)^-1 of a policy as a linear operator on steps.

    M r are the values of all steps for the reward r: one measure gives them for every objective.

    Args:
        problem: Problem.
        shares: Probability of each step in its state, shape (steps,).
    """
    steps, states = problem.transition.shape
    choice = _sparse.csr_array((shares, (problem.owner, np.arange(steps))), (states, steps))
    system = (_sparse.eye_array(steps) - problem.discount * (problem.transition @ choice)).tocsc()
    solved = _linalg.splu(system)
    return _linalg.LinearOperator(
        (steps, steps), matvec=solved.solve, rmatvec=lambda one: solved.solve(one, trans="T"),
        matmat=solved.solve, dtype=np.float64,
    )  # fmt: skip


def uniform(problem: Problem) -> FloatArray:
    """Probabilities of random play."""
    return 1.0 / np.diff(problem.first)[problem.owner]


def features(problem: Problem, number: int, seed: int = 0) -> FloatArray:
    """Orthonormal features B of steps: right singular vectors of random play's successor measure.

    They are the backward map that minimises forward-backward's loss of a fixed policy for this number of
    features, if all steps count equally (Touati and Ollivier 2021). Shape (steps, features).
    """
    steps = len(problem.owner)
    number = min(number, steps - 1)
    operator = successor_operator(problem, uniform(problem))
    start = np.random.default_rng(seed).normal(size=steps)
    _, values, right = _linalg.svds(operator, k=number, v0=start)
    return right[np.argsort(-values)].T


def seen(reward: FloatArray, backward: FloatArray) -> FloatArray:
    """What a reward-free representation knows of a reward: B z with z = B^T r."""
    return backward @ (backward.T @ reward)


def improved(problem: Problem, known: Sequence[FloatArray], weights: FloatArray) -> IntArray:
    """Generalised policy improvement: in each state the step that is best by any of several policies.

    Args:
        problem: Problem.
        known: Values of steps by policy, shape (steps, objectives) each.
        weights: Weights of the objectives.
    """
    return best_steps(problem, np.max([own @ weights for own in known], axis=0))
