"""How good a judge must be: agents from labels of options with planted errors.

The planted rater compares every pair of options of every decision once, as the real raters do: with
probability p it names the option with the better label, where labels differ; where they are equal, it names
either with probability one half, because the real raters name one, too. An error stays the same in all
episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pluralign.core import Objective, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.returns import step_reward

ACCURACIES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Accuracies of the planted raters; 0.5 are coin flips."""


def planted_values(
    known: Sequence[Trajectory], objective: Objective, accuracy: float, seed: int
) -> dict[str, FloatArray]:
    """Values of options, as `labels.value_table` makes them, from a rater with planted errors.

    Args:
        known: A trajectory of one step for every option (`games.oracle_trajectories`).
        objective: Objective of the labels.
        accuracy: Probability of a right answer where labels differ.
        seed: Random seed of the errors.
    """
    rng = np.random.default_rng(seed)
    labels: dict[str, dict[int, float]] = {}
    for trajectory in known:
        (step,) = trajectory.steps
        labels.setdefault(step.decision.key, {})[step.action] = step_reward(step, objective)
    values: dict[str, FloatArray] = {}
    for key, own in labels.items():
        rewards = np.array([own[action] for action in range(len(own))])
        signs = np.sign(rewards[:, None] - rewards[None, :])
        lots = rng.random(signs.shape)
        answers = np.where(signs != 0, np.where(lots < accuracy, signs, -signs), np.where(lots < 0.5, 1, -1))
        upper = np.triu(answers, 1)
        values[key] = (upper - upper.T).sum(axis=1) / max(1, len(rewards) - 1)
    return values


def accuracy_of(values: Mapping[str, FloatArray], known: Sequence[Trajectory], objective: Objective) -> float:
    """Share of pairs with different labels of which the option with the better label has the higher value."""
    labels: dict[str, dict[int, float]] = {}
    for trajectory in known:
        (step,) = trajectory.steps
        labels.setdefault(step.decision.key, {})[step.action] = step_reward(step, objective)
    right: list[float] = []
    for key, own in labels.items():
        for a in own:
            for b in own:
                if own[a] > own[b]:
                    difference = values[key][a] - values[key][b]
                    right.append(0.5 if difference == 0 else float(difference > 0))
    return float(np.mean(right)) if right else float("nan")
