"""A posterior of a story's rewards, such as AVRIL's, compared with the true rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pluralign.core import Trajectory
from pluralign.core.records import read_trajectories
from pluralign.evaluate.pictures.rewards import write_ranks
from pluralign.evaluate.rewards.ranks import (
    RewardPosterior,
    RewardRanks,
    compare_rewards,
    reward_rows,
    true_rewards,
)
from pluralign.options.open import open_option_reward


def evaluate_story_rewards(
    model: str | Path | RewardPosterior, played: str | Path | Sequence[Trajectory], story: str = "", *,
    objectives: Sequence[str] = ("score", "harm_avoidance", "power_avoidance"),
    out: str | Path | None = None, features: Path | None = None, seed: int = 0,
) -> RewardRanks:  # fmt: skip
    """Compare a reward posterior with the story's true rewards: rank correlations with 95 % intervals.

    Args:
        model: The posterior (`fit_avril`), or its folder.
        played: Trajectories that it was trained on, or others of the same story; or their file.
        story: Name of the story, to compare all options of the decisions by their exact rewards. Without a
            story, the options that were taken are compared, by the rewards in the trajectories.
        objectives: Names of the story's objectives; without a story, all objectives in the trajectories.
        out: Folder for a table and a figure (rewards.md, rewards.svg).
        features: Folder that keeps a language model's features between runs.
        seed: Random seed of the resampling.

    Raises:
        InputError: The folder, the trajectories or the story cannot be read, the trajectories have no
            rewards, or the story does not have one of the decisions.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score"])
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=goals))
        >>> config = pl.learn.AVRILConfig(steps=5)
        >>> store = pl.Models("tiny-random").store
        >>> rewards = pl.learn.fit_avril(played, store=store, out="rewards", config=config)
        >>> found = pl.evaluate.evaluate_story_rewards(
        ...     rewards, played, "salt_ledger", objectives=["score", "harm_avoidance"]
        ... )
        >>> sorted(found.mean)
        ['harm_avoidance', 'score']
    """
    posterior = open_option_reward(Path(model), features) if isinstance(model, str | Path) else model
    trajectories = read_trajectories(played) if isinstance(played, str | Path) else list(played)
    rows = reward_rows(posterior, trajectories, true_rewards(trajectories, story, objectives))
    ranks = compare_rewards(rows, seed=seed)
    if out is not None:
        write_ranks(rows, ranks, Path(out))
    return ranks
