"""Recorded steps with the fixed parts of their Q-learning targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.returns import last_reward_known, step_reward
from pluralign.learn.options.tables import DecisionIndex, encode_trajectories
from pluralign.lm.tensors import to_list
from pluralign.losses.offline_q import steps_ahead


@dataclass(frozen=True, eq=False)
class ValueTable:
    """Recorded steps with the fixed parts of their targets.

    Args:
        states: Number of each step's decision.
        actions: Index of the option taken.
        sums: Sums of rewards before the target continues, in scales.
        factors: Factor of the value that the target continues from; 0 if nothing follows.
        next_states: Number of the decision that the target continues from.
        next_actions: Option taken there.
        shares: Shares of each decision's options in the data, shape (decisions, options).
    """

    states: Int[Tensor, " steps"]
    actions: Int[Tensor, " steps"]
    sums: Float[Tensor, "steps objectives"]
    factors: Float[Tensor, " steps"]
    next_states: Int[Tensor, " steps"]
    next_actions: Int[Tensor, " steps"]
    shares: Float[Tensor, "decisions options"]

    def __len__(self) -> int:
        return len(self.states)


def encode_values(
    trajectories: Sequence[Trajectory], index: DecisionIndex, rewards: Float[Tensor, "steps objectives"],
    n: int, gamma: float, objectives: Sequence[Objective],
) -> ValueTable:  # fmt: skip
    """Recorded steps that have a target; the last step has none in a truncated episode, or where an
    objective's reward of it is not known.

    Args:
        trajectories: Episodes.
        index: Numbers of decisions, which this fills.
        rewards: Rewards of all steps, in scales.
        n: Number of steps before a target continues from a value.
        gamma: Discount factor.
        objectives: Objectives of the rewards.

    Raises:
        InputError: No step has a target.
    """
    table = encode_trajectories(trajectories, index)
    lengths = torch.tensor([len(trajectory.steps) for trajectory in trajectories])
    ended = torch.tensor(
        [one.terminated and all(last_reward_known(one, own) for own in objectives) for one in trajectories]
    )
    sums, following, factors, known = steps_ahead(rewards, lengths, ended, n, gamma)
    if not bool(known.any()):
        raise InputError("all episodes were cut off at their first step; nothing is known of what follows")
    counts = torch.zeros(len(index.decisions), max(len(one.options) for one in index.decisions))
    counts.index_put_((table.states, table.actions), torch.ones(len(table)), accumulate=True)
    shares = counts / counts.sum(dim=1, keepdim=True)
    rows = known.nonzero()[:, 0]
    after = following[rows]
    return ValueTable(
        table.states[rows], table.actions[rows], sums[rows], factors[rows], table.states[after],
        table.actions[after], shares,
    )  # fmt: skip


def scaled_rewards(
    trajectories: Sequence[Trajectory], objectives: Sequence[Objective]
) -> tuple[Float[Tensor, "steps objectives"], tuple[float, ...]]:
    """Rewards of all steps, divided by the range of the episodes' returns, and these ranges.

    Args:
        trajectories: Episodes.
        objectives: Objectives.

    Raises:
        InputError: A step has no reward for an objective.
    """
    rows = [
        [[step_reward(step, objective) for objective in objectives] for step in trajectory.steps]
        for trajectory in trajectories
    ]
    returns = torch.tensor([[sum(column) for column in zip(*row, strict=True)] for row in rows])
    # An objective that is the same in all episodes has no range; its values are learned as they are.
    spread = returns.amax(dim=0) - returns.amin(dim=0)
    scales = torch.where(spread > 0, spread, 1.0)
    rewards = torch.tensor([step for row in rows for step in row]) / scales
    return rewards, tuple(to_list(scales))
