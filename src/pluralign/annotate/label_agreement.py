"""Agreement between annotations of options and the labels of a game."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pluralign.annotate.agreement import CONFIDENCE, Agreement, agreement
from pluralign.annotate.oracle import Oracle
from pluralign.core import Annotation, Objective, Trajectory
from pluralign.core.checks import require_at_least
from pluralign.core.returns import TIE, step_reward


@dataclass(frozen=True)
class ShareRight:
    """Share of comparisons in which a rater prefers the better of two options; a tie counts half.

    Args:
        share: Share over the comparisons with different labels.
        low, high: Ends of the 95 % interval: Wilson's for the effective number of comparisons (Korn and
            Graubard 1998), as many independent ones as have the share's standard error over decisions. It is
            not below the number of decisions and not above that of comparisons.
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
    sums = np.array([sum(worths) for worths in right.values()])
    sizes = np.array([len(worths) for worths in right.values()])
    share, comparisons, decisions = float(sums.sum() / sizes.sum()), int(sizes.sum()), len(sizes)
    # Comparisons of a decision are not independent; a bootstrap over decisions has no width if all are right.
    spread = float(((sums - share * sizes) ** 2).sum()) * decisions / max(decisions - 1, 1) / comparisons**2
    effective = share * (1 - share) / spread if spread > 0 and decisions > 1 else decisions
    low, high = _wilson(share, min(max(effective, decisions), comparisons))
    return ShareRight(share, low, high, comparisons, decisions)


def _wilson(share: float, number: float) -> tuple[float, float]:
    """Ends of Wilson's score interval of a share of so many independent trials."""
    square = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    middle = share + square / (2 * number)
    half = math.sqrt(square * (share * (1 - share) / number + square / (4 * number**2)))
    low, high = ((middle + sign * half) / (1 + square / number) for sign in (-1, 1))
    # Rounding.
    return max(0.0, min(low, share)), min(1.0, max(high, share))
