"""Mean returns from few episodes and a prior value, for games whose exact values are not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pluralign.collect.roll_out import episode_seeds
from pluralign.core import Decision, InputError
from pluralign.evaluate.play import PolicyResult
from pluralign.games.game import Game
from pluralign.learn.options.q import belief
from pluralign.losses.value_prior import fuse
from pluralign.options.values import ValuePolicy


@dataclass(frozen=True)
class FusedReturn:
    """A mean return from episodes and a prior value.

    Args:
        prior: Prior value.
        mean: Mean return of the episodes.
        fused: Both fused (`losses.value_prior.fuse`).
    """

    prior: float
    mean: float
    fused: float


def expected_returns(
    values: ValuePolicy, make_game: Callable[[], Game], *, episodes: int, seed: int
) -> dict[str, float]:
    """Returns that learned values expect of their own policy at the first decisions of episodes, by
    objective.

    Args:
        values: Values (`learn q`).
        make_game: Function that makes a game.
        episodes: Number of episodes, whose first decisions are those of `evaluate_policy` with this seed.
        seed: Random seed of the episodes.
    """
    game = make_game()
    decisions: list[Decision] = []
    for episode in range(episodes):
        game.reset(episode_seeds(seed, episode)[1])
        if game.decision is not None:
            decisions.append(game.decision)
    return belief(values, decisions)


def fused_returns(result: PolicyResult, prior: Mapping[str, float]) -> dict[str, FusedReturn]:
    """Mean returns of a policy, each fused with its prior value.

    A prior helps while it is right to about one standard error of the mean of the episodes, and harms beyond,
    most at two (docs/papers.md). It has to be a value of the policy that played.

    Args:
        result: Returns of episodes.
        prior: Prior values by objective; objectives without returns are left out.

    Raises:
        InputError: No objective has both.
    """
    shared = [name for name in result.episode_returns if name in prior]
    if not shared:
        raise InputError(
            f"has values of {', '.join(prior)}, and returns are of {', '.join(result.episode_returns)}",
            field="prior",
        )
    found: dict[str, FusedReturn] = {}
    for name in shared:
        own = np.array(result.episode_returns[name], dtype=np.float64)
        mean, error = float(own.mean()), float(own.var(ddof=1)) / len(own)
        known = torch.tensor([prior[name], mean, error], dtype=torch.float64)
        found[name] = FusedReturn(float(prior[name]), mean, float(fuse(*known)))
    return found
