"""How stances move over checkpoints or dials: magnitude, time, and the noise of phrasings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.evaluate.statistics import Estimate, estimate
from pluralign.evaluate.values.stances import StanceQuestion

# Share of the whole drift within which a stance has arrived.
_ARRIVED = 0.05
# Rounding of probabilities and positions.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TopicDrift:
    """Drift of the stance on one topic.

    Args:
        topic: Topic.
        support: Probability of the supporting answer at each checkpoint: mean over the questions, of each of
            which it is the mean over phrasings and both orders.
        magnitude: Last minus first probability, with an interval over questions (over phrasings, if there is
            one question; `statistics.estimate`); infinite if there is one phrasing.
        time: Share of the way after which the probability stays within 5 % of the magnitude from the last
            one; None if the magnitude's interval includes 0 (after Bhatia et al. 2025).
        entropy: Entropy of the two answers at each checkpoint, in nats: log 2 is neutral.
        phrasing_noise: Mean standard deviation over phrasings of one question, over all checkpoints; None
            without phrasings. A smaller drift is within what another phrasing does.
        questions: Number of questions.
        phrasings: Number of phrasings of all of them.
    """

    topic: str
    support: tuple[float, ...]
    magnitude: Estimate
    time: float | None
    entropy: tuple[float, ...]
    phrasing_noise: float | None
    questions: int
    phrasings: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        fields = ("topic", "support", "time", "entropy", "phrasing_noise", "questions", "phrasings")
        return {**{name: getattr(self, name) for name in fields}, "magnitude": self.magnitude.to_json()}


def total_drift(topics: Sequence[TopicDrift]) -> float:
    """Mean over topics of the total variation between the first and the last distribution, |magnitude|."""
    return float(np.mean([abs(topic.magnitude.mean) for topic in topics]))


def stance_drift(
    questions: Sequence[StanceQuestion],
    support: FloatArray,
    positions: Sequence[float],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[TopicDrift]:
    """Drift of stances by topic. The order of the questions does not matter.

    Args:
        questions: Questions.
        support: Probability of the supporting answer, shape (checkpoints, questions); of a single checkpoint
            there is no drift.
        positions: Position of each checkpoint (steps, or a weight), ascending.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Raises:
        InputError: The shapes do not match, or positions do not ascend.
    """
    if support.shape != (len(positions), len(questions)) or not support.size:
        raise InputError(
            f"expected probabilities of shape (checkpoints, questions), found "
            f"{support.shape} for {len(positions)} checkpoints and {len(questions)} questions",
            field="support",
        )
    require_ascending(positions)
    order = sorted(range(len(questions)), key=lambda row: questions[row])
    known = [questions[row] for row in order]
    values = support[:, order]
    found: list[TopicDrift] = []
    for topic in dict.fromkeys(one.topic for one in known):
        rows = [row for row, one in enumerate(known) if one.topic == topic]
        originals = [known[row].original for row in rows]
        found.append(_topic(topic, originals, values[:, rows], np.array(positions), resamples, seed))
    return found


def require_ascending(positions: Sequence[float]) -> None:
    """Check that positions are in their order, without which nothing moves from one to the next.

    Raises:
        InputError: They are not.
    """
    if any(after <= before for before, after in pairwise(positions)):
        raise InputError(f"positions must ascend, found {list(positions)}", field="positions")


def _topic(
    topic: str, originals: Sequence[str], values: FloatArray, positions: FloatArray, resamples: int, seed: int
) -> TopicDrift:
    names = list(dict.fromkeys(originals))
    members = [[i for i, own in enumerate(originals) if own == name] for name in names]
    by_question = np.stack([values[:, rows].mean(axis=1) for rows in members], axis=1)
    path = by_question.mean(axis=1)
    units = by_question if len(names) > 1 else values
    moved = units[-1] - units[0]
    magnitude = Estimate(float(path[-1] - path[0]), np.inf, -np.inf, np.inf)
    if len(moved) > 1:
        magnitude = estimate(moved, resamples=resamples, seed=seed).within(-1.0, 1.0)
    p = path.clip(1e-300, 1 - 1e-16)
    spreads = [values[:, rows].std(axis=1, ddof=1).mean() for rows in members if len(rows) > 1]
    return TopicDrift(
        topic,
        tuple(path.tolist()),
        magnitude,
        _time(path, positions, magnitude),
        tuple((-p * np.log(p) - (1 - p) * np.log1p(-p)).tolist()),
        float(np.mean(spreads)) if spreads else None,
        len(names),
        len(originals),
    )


def _time(path: FloatArray, positions: FloatArray, magnitude: Estimate) -> float | None:
    if magnitude.low <= 0 <= magnitude.high:
        return None
    away = np.abs(path - path[-1]) > _ARRIVED * abs(path[-1] - path[0]) + _ROUNDING
    first = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
    return float((positions[first] - positions[0]) / (positions[-1] - positions[0]))
