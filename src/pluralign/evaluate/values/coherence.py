"""How coherent preferences between outcomes are: completeness, cycles, lotteries, means and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core.arrays import FloatArray, IntArray
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    Estimate,
    of_resamples,
    resampling_weights,
)
from pluralign.evaluate.values.answers import Answers
from pluralign.evaluate.values.outcomes import Process
from pluralign.evaluate.values.utilities import weighted_means

# Utilities are fitted to more digits than these.
_DECIMALS = 9
# Times that all answers are turned around at random.
_SHUFFLES = 200


@dataclass(frozen=True)
class Cycles:
    """Probability that preferences among three outcomes form a cycle.

    Args:
        probability: Mean over the triples, with a bootstrap interval over outcomes; 0 for an order, 1 for a
            certain cycle, 1/4 for coin flips.
        shuffled: The same if each pair keeps its |2 p - 1| and the preferred side is drawn at random: mean
            and the middle 95 % of the draws. Its expectation is 1/4 for any |2 p - 1|.
        triads: Number of triples.
    """

    probability: Estimate
    shuffled: Estimate
    triads: int


@dataclass(frozen=True)
class Agreement:
    """Agreement between utilities of items and the utilities that follow from others.

    Args:
        correlation: Pearson's correlation, with a bootstrap interval over items; None if a side is constant.
        ordered_alike: Share of pairs of items that both order alike, with an interval; 1/2 by chance.
        items: Number of items.
        given: Utilities that were read off the answers about the items themselves.
        expected: Utilities that follow from other outcomes.
    """

    correlation: Estimate | None
    ordered_alike: Estimate
    items: int
    given: tuple[float, ...]
    expected: tuple[float, ...]


def completeness(answers: Answers, items: int, *, resamples: int, seed: int) -> Estimate:
    """Mean |2 p - 1| over the pairs whose two orders agree: 0 for indifference, 1 for certainty."""
    kept = answers.agree
    sizes = np.abs(2 * answers.prefer[kept] - 1)
    weights = resampling_weights(items, resamples, np.random.default_rng(seed))
    return of_resamples(float(sizes.mean()), weighted_means(weights, answers.pairs[kept], sizes), CONFIDENCE)


def cycles(answers: Answers, triads: IntArray, items: int, *, resamples: int, seed: int) -> Cycles | None:
    """Probability of cycles among triples of outcomes; None if no triple has answers to its three pairs.

    With d = 2 p - 1 along the triple, P(cycle) = (1 + d_ab d_bc + d_bc d_ca + d_ca d_ab) / 4.

    Args:
        answers: Answers about pairs of outcomes.
        triads: Triples of outcomes, shape (triads, 3), ascending.
        items: Number of outcomes.
        resamples: Number of bootstrap resamples.
        seed: Random seed of resampling and shuffling.
    """
    place = np.full((items, items), -1)
    place[answers.pairs[:, 0], answers.pairs[:, 1]] = np.arange(len(answers.pairs))
    a, b, c = triads.T
    sides = np.stack([place[a, b], place[b, c], place[a, c]])
    known = (sides >= 0).all(axis=0)
    if not known.any():
        return None
    sides, triads = sides[:, known], triads[known]
    apart = 2 * answers.prefer - 1
    found = _cycle(apart[sides])
    random = np.random.default_rng(seed)
    weights = resampling_weights(items, resamples, random)
    signs = random.choice([-1.0, 1.0], size=(_SHUFFLES, len(apart)))
    turned = np.array([float(_cycle((apart * sign)[sides]).mean()) for sign in signs])
    shuffled = of_resamples(float(turned.mean()), turned, CONFIDENCE)
    probability = of_resamples(float(found.mean()), weighted_means(weights, triads, found), CONFIDENCE)
    return Cycles(probability, shuffled, len(triads))


def _cycle(apart: FloatArray) -> FloatArray:
    ab, bc, ac = apart
    return (1 + ab * bc - bc * ac - ac * ab) / 4


def agreement(
    given: FloatArray, expected: FloatArray, *, resamples: int, seed: int, groups: IntArray | None = None
) -> Agreement | None:
    """Compare utilities of items with those that follow from others; None for fewer than three items.

    Args:
        given: Utilities of the items, shape (items,).
        expected: Utilities that follow from other outcomes, shape (items,).
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.
        groups: Group of each item, shape (items,): only items of one group are ordered, and groups are
            resampled; None is one group, of which items are resampled.

    Returns:
        The agreement; None for fewer than three items, or if no two items of a group can be ordered.
    """
    if len(given) < 3:
        return None
    # Equal utilities differ by rounding, which is no order.
    given, expected = np.round(given, _DECIMALS), np.round(expected, _DECIMALS)
    unit = np.arange(len(given)) if groups is None else np.unique(groups, return_inverse=True)[1]
    weights = resampling_weights(int(unit.max()) + 1, resamples, np.random.default_rng(seed))[:, unit]
    first, second = np.triu_indices(len(given), 1)
    if groups is not None:
        alike = groups[first] == groups[second]
        first, second = first[alike], second[alike]
    if not len(first):
        return None
    same = np.sign(given[first] - given[second]) == np.sign(expected[first] - expected[second])
    pairs = np.column_stack([first, second]) if groups is None else first[:, None]
    shares = weighted_means(weights, pairs, same.astype(np.float64))
    units = int(unit.max()) + 1
    # Few processes vary less in resamples than they do; pairs of resampled items vary more.
    wider = {} if groups is None else {"units": units}
    ordered = of_resamples(float(same.mean()), shares, CONFIDENCE, **wider).within(0.0, 1.0)
    return Agreement(
        _pearson(given, expected, weights, units),
        ordered,
        len(given),
        tuple(given.tolist()),
        tuple(expected.tolist()),
    )


def _pearson(x: FloatArray, y: FloatArray, weights: FloatArray, units: int) -> Estimate | None:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    rows = np.vstack([np.full(len(x), 1 / len(x)), weights / weights.sum(axis=1, keepdims=True)])
    gaps_x, gaps_y = x - rows @ x[:, None], y - rows @ y[:, None]
    scale = np.sqrt((rows * gaps_x**2).sum(axis=1) * (rows * gaps_y**2).sum(axis=1))
    together = (rows * gaps_x * gaps_y).sum(axis=1)
    found = np.clip(together[scale > 1e-12] / scale[scale > 1e-12], -1.0, 1.0)
    return of_resamples(float(found[0]), found[1:], CONFIDENCE, units).within(-1.0, 1.0)


def means_and_ends(
    processes: Sequence[Process], utilities: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Utilities of the states that are no ends, what is to be expected of the ends that follow, and the
    process of each state.

    Only these states can disagree: the reward of every later state could be chosen to fit (Mazeika et al.
    2025 average over all prefixes, which hides disagreement). Nothing is discounted, because utilities have
    no origin.

    Args:
        processes: Processes.
        utilities: Utilities of each process's states.
    """
    given: list[float] = []
    expected: list[float] = []
    groups: list[int] = []
    for number, (process, own) in enumerate(zip(processes, utilities, strict=True)):
        values = process.values(own)
        for state, ends in enumerate(process.terminal):
            if not ends:
                given.append(float(own[state]))
                expected.append(float(values[state]))
                groups.append(number)
    return np.array(given), np.array(expected), np.array(groups)
