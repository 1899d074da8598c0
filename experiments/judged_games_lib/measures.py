"""What policies gain in a labelled game, and how much of its play has labels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pluralign.core import Policy
from pluralign.core.records import read_trajectories
from pluralign.evaluate.play import evaluate_policy
from pluralign.games.labelled.story import LabelledGame
from pluralign.workflows.main_job import MainJob


def returns_of(job: MainJob, policy: Policy) -> dict[str, Any]:
    """Mean returns of a policy."""
    found = evaluate_policy(
        job.make_game,
        policy,
        episodes=job.settings.play,
        seed=job.settings.seed + 1,
        objectives=job.objectives,
    )
    return {name: asdict(mean) for name, mean in found.returns.items()}


def coverage(job: MainJob) -> dict[str, int]:
    """Number of random play's decisions and steps with labels, without those that have a single option."""
    game = job.make_game()
    assert isinstance(game, LabelledGame)
    steps = [s for t in read_trajectories(job.trajectories) for s in t.steps if len(s.decision.options) > 1]
    met = {step.decision.key for step in steps}
    judged = {key for labels in game.story.labels for key in labels.values}
    return {
        "decisions with a choice": len(met),
        "judged decisions": len(met & judged),
        "steps with a choice": len(steps),
        "judged steps": sum(step.decision.key in judged for step in steps),
    }
