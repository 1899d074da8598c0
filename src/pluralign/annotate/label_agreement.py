"""Agreement between annotations of options and the labels of a game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pluralign.annotate.agreement import Agreement, agreement
from pluralign.annotate.oracle import Oracle
from pluralign.core import Annotation, Objective, Trajectory
from pluralign.core.checks import require_at_least
from pluralign.core.returns import TIE, step_reward
from pluralign.core.shares import share_of_groups


@dataclass(frozen=True)
class ShareRight:
    """Share of comparisons in which a rater prefers the better of two options; a tie counts half.

    Args:
        share: Share over the comparisons with different labels.
        low, high: Ends of the 95 % interval over decisions (`core.shares.share_of_groups`).
        comparisons: Number of comparisons with different labels.
        decisions: Number of decisions of these comparisons.
    """

    share: float
    low: float
    high: float
    comparisons: int
    decisions: int


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement of a rater with a game's labels.

    Args:
        agreement: Agreement over all comparisons whose two options were both taken.
        right: Share of better options preferred; None if no two labels differ.
    """

    agreement: Agreement
    right: ShareRight | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {**self.agreement.as_json(), "right": self.right and asdict(self.right)}


def label_agreement(
    annotations: Sequence[Annotation],
    trajectories: Sequence[Trajectory],
    objective: Objective,
    *,
    seed: int = 0,
) -> LabelAgreement | None:
    """Compare a rater's annotations of options with the rewards of the options.

    Args:
        annotations: Annotations by one rater, of comparisons from `compare_options`.
        trajectories: Trajectories that the comparisons were made from.
        objective: Objective whose rewards are the labels.
        seed: Random seed of the agreement's intervals.

    Returns:
        The agreement, or None if the trajectories have no rewards, only zeros, or no comparison with both
        options taken.

    Raises:
        InputError: More than one rater or objective.
    """
    require_at_least(0, seed=seed)
    steps = [step for t in trajectories for step in t.steps]
    recorded = bool(objective.coefficients) or all(objective.name in step.rewards for step in steps)
    if not recorded or all(abs(step_reward(step, objective)) <= TIE for step in steps):
        return None
    ratings = Oracle(trajectories).rate([a.comparison for a in annotations], objective)
    known = [
        Annotation(a.comparison, objective.name, Oracle.name, rating.preference)
        for a, rating in zip(annotations, ratings, strict=True)
        if rating is not None
    ]
    if not known:
        return None
    found = agreement(known, annotations, seed=seed)
    return LabelAgreement(found, _share_right(known, annotations))


def _share_right(known: Sequence[Annotation], judged: Sequence[Annotation]) -> ShareRight | None:
    preferences = {a.comparison.id: a.preference for a in judged}
    right: dict[str, list[float]] = {}
    for label in known:
        if label.preference != "tie":
            answer = preferences[label.comparison.id]
            worth = 0.5 if answer == "tie" else float(answer == label.preference)
            right.setdefault(label.comparison.first.trajectory_id, []).append(worth)
    if not right:
        return None
    # Comparisons of one decision are not independent.
    owner = np.repeat(np.arange(len(right)), [len(worths) for worths in right.values()])
    share, low, high = share_of_groups(np.concatenate(list(right.values())), owner)
    return ShareRight(share, low, high, len(owner), len(right))
