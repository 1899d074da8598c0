"""``pluralign evaluate story-rewards``: comparison of a reward posterior with the story's true rewards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pluralign.cli.common import Figures, say, wrote
from pluralign.evaluate.rewards.story_rewards import evaluate_story_rewards as evaluate


def evaluate_story_rewards(
    model: Path,
    data: Path,
    story: str = "",
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
    out: Path | None = None,
    features: Path | None = None,
    seed: int = 0,
) -> Figures:
    """Compare a reward posterior with the story's true rewards: rank correlations with 95 % intervals.

    Example: pluralign evaluate story-rewards --model runs/wants --data runs/t.jsonl --story salt_ledger
    --out runs/wants-report

    Args:
        model: Folder written by `learn avril`.
        data: File of its training trajectories, or of others of the same story.
        story: Name of the story, to compare all options of the decisions by their exact rewards. Without a
            story, the options that were taken are compared, by the rewards in the file.
        objectives: Names of the story's objectives; without a story, all objectives in the file.
        out: Folder for a table and a figure.
        features: Folder that keeps a language model's features between runs.
        seed: Random seed of the resampling.
    """
    ranks = evaluate(model, data, story, objectives=objectives, out=out, features=features, seed=seed)
    say(ranks.table())
    if out is not None:
        wrote(out, "rewards.md, rewards.svg")
    return {"data": data.name, "model": model.name, "story": story, **asdict(ranks)}
