"""Adaptation of raters to games: a linear model of rewards and frozen features, learned on labelled options
of three stories and tested on the fourth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ethical_theories_lib.baselines import fit_linear
from ethical_theories_lib.games import STORIES
from pluralign.annotate.options import compare_options
from pluralign.annotate.oracle import Oracle
from pluralign.core import Objective, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.splits import seed_for
from pluralign.evaluate.statistics import CONFIDENCE

PAIRS = 300
"""Largest number of labelled pairs of options, of three stories together."""
DECAYS = (1.0, 10.0, 100.0)
RESAMPLES = 2000


def labelled_pairs(known: Sequence[Trajectory], objective: Objective) -> list[tuple[str, int, int]]:
    """Pairs of options with different labels: (decision, better option, worse option)."""
    comparisons = compare_options(known, count=1_000_000, seed=0)
    found: list[tuple[str, int, int]] = []
    for comparison, rating in zip(comparisons, Oracle(known).rate(comparisons, objective), strict=True):
        if rating is not None and rating.preference != "tie":
            a, b = comparison.first.steps[0], comparison.second.steps[0]
            better, worse = (a, b) if rating.preference == "first" else (b, a)
            found.append((a.decision.key, better.action, worse.action))
    return found


def adapt(
    pairs: Mapping[str, Sequence[tuple[str, int, int]]], features: Mapping[str, FloatArray],
    lengths: Mapping[str, FloatArray], scenes: Mapping[str, str], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Balanced share of right answers (`labels.balanced`) on each story, by a model of the other three.

    Args:
        pairs: Pairs with labels, by story.
        features: Features of the options, shape (options, d), by the decision's key.
        lengths: Lengths of the options, shape (options, 1).
        scenes: Scene of each decision (`games.scenes_of`), by its key.
        seed: Random seed of the draw of training pairs and of the bootstrap.
    """
    result: dict[str, Any] = {}
    for story in STORIES:
        rest = [(key, a, b) for other in STORIES if other != story for key, a, b in pairs[other]]
        rest.sort(key=lambda row: seed_for(repr(row), seed))
        train, test = _differences(rest[:PAIRS], features), _differences(pairs[story], features)
        scale = np.maximum(train.std(axis=0), 1e-6)
        weights = fit_linear(train / scale, _decay(train / scale))
        margins = (test / scale) @ weights
        right = (margins > 0) + 0.5 * (margins == 0)
        longer = _differences(pairs[story], lengths)[:, 0]
        result[story] = _share(right, longer, [scenes[key] for key, _, _ in pairs[story]], seed)
    return result


def _differences(pairs: Sequence[tuple[str, int, int]], features: Mapping[str, FloatArray]) -> FloatArray:
    return np.stack([features[key][a] - features[key][b] for key, a, b in pairs])


def _decay(train: FloatArray) -> float:
    """The weight decay that is best on every fifth training pair, when trained on the others."""
    held = np.arange(len(train)) % 5 == 0
    if train.shape[1] < 16:
        return DECAYS[0]
    return max(DECAYS, key=lambda d: float((train[held] @ fit_linear(train[~held], d) > 0).mean()))


def _share(right: FloatArray, longer: FloatArray, owners: Sequence[str], seed: int) -> dict[str, float | int]:
    sums: dict[str, list[float]] = {}
    for value, difference, owner in zip(right, longer, owners, strict=True):
        row = sums.setdefault(owner, [0.0] * 4)
        if difference:
            row[2 * (difference > 0)] += float(value)
            row[2 * (difference > 0) + 1] += 1
    table = np.array(list(sums.values()))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=RESAMPLES) @ table
    low, high = np.quantile(_balanced(drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    share = _balanced(table.sum(axis=0, keepdims=True))[0]
    return {"share": float(share), "low": float(low), "high": float(high), "comparisons": len(right)}


def _balanced(sums: FloatArray) -> FloatArray:
    shares = sums[:, [0, 2]] / np.maximum(sums[:, [1, 3]], 1)
    return shares.mean(axis=1)
