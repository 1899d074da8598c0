"""Rewards of recorded steps and returns of recorded episodes."""

from __future__ import annotations

from itertools import accumulate

from pluralign.core.errors import InputError
from pluralign.core.objective import Objective
from pluralign.core.trajectory import Step, Trajectory

TIE = 1e-9
"""Tolerance for equal returns: sums of the same rewards in another order differ by less."""


def step_reward(step: Step, objective: Objective) -> float:
    """The objective's reward of a recorded step: from the step's counts if the objective is defined by
    counts, otherwise the reward recorded under its name.

    Raises:
        InputError: The step has neither.
    """
    if objective.coefficients:
        return objective.reward(step.counts)
    if objective.name not in step.rewards:
        raise InputError(
            f"objective '{objective.name}' has no coefficients, and the trajectories have no rewards for it",
            field="rewards",
        )
    return step.rewards[objective.name]


def returns_to_go(trajectory: Trajectory, objective: Objective) -> list[float]:
    """Sum of the objective's rewards from each step to the last one that was recorded, without discount.

    In an episode that was cut off this is not the return: what would have followed is missing.

    Raises:
        InputError: See `step_reward`.
    """
    rewards = [step_reward(step, objective) for step in trajectory.steps]
    return list(accumulate(reversed(rewards)))[::-1]


def last_reward_known(trajectory: Trajectory, objective: Objective | None = None) -> bool:
    """Whether it is known what the last step led to. MACHIAVELLI's files may have its points only, or nothing
    of it; what is missing there is not zero.

    Args:
        trajectory: An episode.
        objective: Objective whose reward is asked for; None asks for all counts.
    """
    found = trajectory.info.get("last_step", "whole")
    points = objective is not None and set(objective.coefficients) == {"points"}
    return found == "whole" or (found == "points" and points)
