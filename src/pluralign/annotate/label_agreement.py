"""How far annotations of options agree with the labels that a game has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pluralign.annotate.agreement import Agreement, agreement
from pluralign.annotate.oracle import TIE, Oracle, step_reward
from pluralign.core import Annotation, Objective, Trajectory


@dataclass(frozen=True)
class ShareRight:
    """How often a rater prefers the better of two options; a tie is half right.

    Args:
        share: over the comparisons whose labels differ.
        low, high: the bootstrap interval's ends, over decisions.
        comparisons: whose labels differ.
        decisions: that they are of.
    """

    share: float
    low: float
    high: float
    comparisons: int
    decisions: int


@dataclass(frozen=True)
class LabelAgreement:
    """How far a rater agrees with a game's labels.

    Args:
        agreement: over all comparisons whose two options were taken.
        right: None where no two labels differ.
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
    resamples: int = 2000,
    confidence: float = 0.95,
) -> LabelAgreement | None:
    """Hold a rater's annotations of options against the rewards that the options had.

    Args:
        annotations: of comparisons by `compare_options`, by one rater.
        trajectories: that they were made of.
        objective: whose rewards are the labels.
        seed: of the bootstraps.
        resamples: of the bootstraps.
        confidence: of the intervals.

    Returns:
        None where the trajectories hold no rewards, none but zero, or no two options that were taken.

    Raises:
        InputError: more than one rater or objective.
    """
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
    found = agreement(known, annotations, seed=seed, resamples=resamples, confidence=confidence)
    return LabelAgreement(found, _share_right(known, annotations, seed, resamples, confidence))


def _share_right(
    known: Sequence[Annotation], judged: Sequence[Annotation], seed: int, resamples: int, confidence: float
) -> ShareRight | None:
    told = {a.comparison.id: a.preference for a in judged}
    right: dict[str, list[float]] = {}
    for label in known:
        if label.preference != "tie":
            answer = told[label.comparison.id]
            worth = 0.5 if answer == "tie" else float(answer == label.preference)
            right.setdefault(label.comparison.first.trajectory_id, []).append(worth)
    if not right:
        return None
    sums = np.array([[sum(worths), len(worths)] for worths in right.values()], dtype=np.float64)
    rng = np.random.default_rng(seed)
    # Comparisons of one decision are not independent: decisions are drawn, each with all of its own.
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples) @ sums
    tail = (1 - confidence) / 2
    low, high = (float(x) for x in np.quantile(drawn[:, 0] / drawn[:, 1], [tail, 1 - tail]))
    total, comparisons = sums.sum(0)
    return ShareRight(float(total / comparisons), low, high, int(comparisons), len(sums))
