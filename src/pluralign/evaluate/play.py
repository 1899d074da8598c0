"""What a policy gets when it plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pluralign.collect.roll_out import roll_out
from pluralign.core import InputError, Objective, Policy, Trajectory
from pluralign.evaluate.harms_table import TABLE_METRICS, metric_values
from pluralign.evaluate.statistics import Estimate, estimate_columns
from pluralign.games.game import Game

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PolicyResult:
    """What a policy got.

    Args:
        name: the policy's.
        returns: mean return per episode, by objective.
        metrics: mean per episode of each of `harms_table.TABLE_METRICS`.
        episodes: how many were played.
        steps: how many decisions they had in all.
        episode_returns: by objective, the return of each episode; the k-th episodes of two results with
            the same seed began alike.
    """

    name: str
    returns: Mapping[str, Estimate]
    metrics: Mapping[str, Estimate]
    episodes: int
    steps: int
    episode_returns: Mapping[str, tuple[float, ...]]

    def returns_array(self, objectives: Sequence[str]) -> FloatArray:
        """The episodes' returns in the order of these objectives, shape (episodes, objectives)."""
        return np.stack([np.asarray(self.episode_returns[o]) for o in objectives], axis=1)


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
    """Play episodes and sum up what came of them.

    The k-th episode of a seed begins alike for every policy (common random numbers), so that
    `paired_difference` of two policies' episode returns is a fair comparison.

    Args:
        make_game: a fresh game.
        policy: who plays.
        episodes: two or more.
        seed: of the episodes.
        objectives: what is summed up.
        max_steps: after so many steps an episode is cut off.
        greedy: take the likeliest option instead of drawing one.
        batch: episodes in play at once; changes nothing but the time taken.

    Raises:
        InputError: fewer than two episodes, no objectives, or a game at fault.

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
    """What these episodes got: `evaluate_policy` of trajectories that were played before.

    Args:
        name: the policy's.
        trajectories: two or more, with rewards for these objectives.
        objectives: by name.
        max_points: by game.

    Raises:
        InputError: no objectives, fewer than two episodes, or a reward missing.
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
