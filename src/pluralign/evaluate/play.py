"""Evaluation of policies on games: returns and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.collect.roll_out import roll_out
from pluralign.core import InputError, Objective, Policy, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.evaluate.harms_table import TABLE_METRICS, metric_values
from pluralign.evaluate.statistics import Estimate, estimate_columns
from pluralign.evaluate.tail import estimate_tail
from pluralign.games.game import Game


@dataclass(frozen=True)
class PolicyResult:
    """Returns and metrics of a policy.

    Args:
        name: Name of the policy.
        returns: Mean return per episode, by objective.
        metrics: Mean per episode of each of `harms_table.TABLE_METRICS`.
        episodes: Number of episodes.
        steps: Total number of decisions.
        episode_returns: Return of each episode, by objective. The k-th episodes of two results with the same
            seed have the same initial state.
    """

    name: str
    returns: Mapping[str, Estimate]
    metrics: Mapping[str, Estimate]
    episodes: int
    steps: int
    episode_returns: Mapping[str, tuple[float, ...]]

    def returns_array(self, objectives: Sequence[str]) -> FloatArray:
        """Returns of the episodes in the order of these objectives, shape (episodes, objectives)."""
        return np.stack([np.asarray(self.episode_returns[o]) for o in objectives], axis=1)

    def tails(self, share: float) -> dict[str, Estimate]:
        """Mean return of the worst share of the episodes, by objective (`estimate_tail`)."""
        return {name: estimate_tail(returns, share) for name, returns in self.episode_returns.items()}


@checked
def evaluate_policy(
    make_game: Callable[[], Game],
    policy: Policy,
    *,
    episodes: int,
    seed: int,
    objectives: Sequence[Objective],
    max_steps: int = 200,
    greedy: bool = False,
    batch: int = 64,
) -> PolicyResult:
    """Play episodes and summarise them.

    The k-th episode of a seed begins in the same way for every policy (common random numbers), so that
    `paired_difference` of two policies' episode returns is a fair comparison.

    Args:
        make_game: Function that makes a new game.
        policy: Policy to evaluate.
        episodes: Number of episodes, at least two.
        seed: Random seed of the episodes.
        objectives: Objectives whose returns are measured.
        max_steps: Number of steps after which an episode is truncated.
        greedy: Whether to take the most likely option instead of sampling.
        batch: Number of episodes played at once; it only affects speed.

    Raises:
        InputError: There are fewer than two episodes or no objectives, or the game has an error.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> score = game.info.objective("score")
        >>> random = pl.UniformPolicy()
        >>> found = pl.evaluate_policy(game.make_game, random, episodes=5, seed=0, objectives=[score])
        >>> found.returns["score"].mean > 0
        True
    """
    if episodes < 2:
        raise InputError(f"must be two or more, found {episodes}", field="episodes")
    played = list(
        roll_out(
            make_game,
            policy,
            episodes=episodes,
            seed=seed,
            objectives=objectives,
            max_steps=max_steps,
            greedy=greedy,
            batch=batch,
        )
    )
    info = make_game().info
    return summarise(
        policy.name, played, [o.name for o in objectives], {t.source: info.max_points for t in played}
    )


def summarise(
    name: str,
    trajectories: Sequence[Trajectory],
    objectives: Sequence[str],
    max_points: Mapping[str, float],
) -> PolicyResult:
    """Summarise episodes that were played before; see `evaluate_policy`.

    Args:
        name: Name of the policy.
        trajectories: Two or more trajectories, with rewards for these objectives.
        objectives: Names of the objectives.
        max_points: Maximum points by game.

    Raises:
        InputError: There are no objectives or fewer than two episodes, or a reward is missing.
    """
    if not objectives:
        raise InputError("an evaluation needs at least one objective", field="objectives")
    rows: list[list[float]] = []
    for trajectory in trajectories:
        returns = trajectory.returns()
        missing = [o for o in objectives if o not in returns]
        if missing:
            raise InputError(f"trajectory '{trajectory.id}' has no rewards for objective '{missing[0]}'")
        rows.append([returns[o] for o in objectives])
    returns = np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))
    metrics = metric_values(trajectories, max_points)
    estimates = estimate_columns(np.hstack([returns, metrics]))
    return PolicyResult(
        name=name,
        returns=dict(zip(objectives, estimates[: len(objectives)], strict=True)),
        metrics=dict(zip(TABLE_METRICS, estimates[len(objectives) :], strict=True)),
        episodes=len(trajectories),
        steps=sum(len(t.steps) for t in trajectories),
        episode_returns={o: tuple(map(float, returns[:, i])) for i, o in enumerate(objectives)},
    )
