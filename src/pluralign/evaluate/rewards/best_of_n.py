"""The best of N samples, for every N at once, from one draw of M samples of each prompt.

Source: Inverse-RLignment, sections 4.2 and 4.3 (figures 3 and 4, best-of-N by a learned reward, measured by a
golden one).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    FloatArray,
    estimate_columns,
    resampling_weights,
    standard_error,
)

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class BestOfN:
    """What choosing the best of N by one reward gives; entry k of each sequence is N = k + 1.

    Args:
        golden: expected golden reward, in that reward's unit.
        kl_bound: upper bound, in nats, of the divergence from the policy that was sampled (`kl_bound`).
        win_rate: share of prompts, from 0 to 1, on which the best of N has a greater golden reward than the
            baseline, ties counting half; None without a baseline.
        golden_by_prompt: expected golden reward of each prompt, shape (prompts, samples).
    """

    golden: tuple[Estimate, ...]
    kl_bound: tuple[float, ...]
    win_rate: tuple[Estimate, ...] | None
    golden_by_prompt: FloatArray


def kl_bound(n: int) -> float:
    """``log N - (N - 1) / N`` nats: how far choosing the best of N moves the policy at most.

    It is an upper bound of KL(best of N || policy), not the divergence itself: equal to it where no two
    samples have one reward, as with continuous ones, and above it where samples repeat or tie (the formula:
    Stiennon et al. 2020; that it is a bound: Beirami et al. 2024).

    Raises:
        InputError: N is below 1.
    """
    if n < 1:
        raise InputError(f"must be at least 1, found {n}", field="n")
    return math.log(n) - (n - 1) / n


def rank_probabilities(samples: int) -> FloatArray:
    """With N of M samples drawn without replacement, how probably the one of rank i is the best of them.

    ``C(M-1-i, N-1) / C(M, N)``: sample i is drawn, and the N - 1 others are all ranked after it. Computed as
    products of ratios of neighbours, all from 0 to 1, so that no binomial is ever formed.

    Args:
        samples: M.

    Returns:
        Shape (M, M): row N - 1, column i (0 is the best). Rows sum to one.

    Raises:
        InputError: there is no sample.
    """
    if samples < 1:
        raise InputError(f"must be at least 1, found {samples}", field="samples")
    n = np.arange(1, samples + 1, dtype=np.float64)[:, None]
    i = np.arange(samples - 1, dtype=np.float64)
    ratios: FloatArray = np.clip((samples - i - n) / (samples - 1 - i), 0.0, 1.0)
    found: FloatArray = np.cumprod(np.hstack([n / samples, ratios]), axis=1, dtype=np.float64)
    return found


def expected_best(proxy: FloatArray, values: FloatArray) -> FloatArray:
    """Expected value of the sample that the proxy chooses among N of the M, without bias, for every N.

    The mean over all subsets of N of the M samples: a U-statistic, unbiased for N fresh samples.

    Args:
        proxy: rewards that choose, shape (prompts, M).
        values: what the chosen sample is worth, shape (prompts, M).

    Returns:
        Shape (prompts, M); column N - 1.

    Raises:
        InputError: other or different shapes, or a value that is not finite.
    """
    chosen_by, worth = _rewards(proxy, "proxy", 2), _rewards(values, "golden", 2)
    if chosen_by.shape != worth.shape:
        raise InputError(
            f"expected one golden reward for each proxy reward, found {worth.shape} for {chosen_by.shape}"
        )
    # In order of the proxy, each sample's value replaced by the mean of those that tie with it.
    ranked = np.empty_like(worth)
    for row, (by, own) in enumerate(zip(chosen_by, worth, strict=True)):
        group, sizes = _ties(by)
        ranked[row] = np.repeat(np.bincount(group, weights=own) / sizes, sizes)
    return ranked @ rank_probabilities(worth.shape[1]).T


def best_of_n(
    proxy: FloatArray,
    golden: FloatArray,
    baseline: FloatArray | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BestOfN:
    """The curve of best-of-N by a proxy reward, with bootstrap intervals over prompts.

    Args:
        proxy: rewards that choose, shape (prompts, M).
        golden: rewards that measure, of the same samples, shape (prompts, M).
        baseline: golden reward of one deterministic generation of each prompt, shape (prompts,).
        confidence: of the intervals.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        InputError: fewer than two prompts, other or different shapes, or a reward that is not finite.
    """
    summarise: Callable[[FloatArray], list[Estimate]] = partial(
        estimate_columns, confidence=confidence, resamples=resamples, seed=seed
    )
    by_prompt = expected_best(proxy, golden)
    prompts, samples = by_prompt.shape
    wins: tuple[Estimate, ...] | None = None
    if baseline is not None:
        held_against = _rewards(baseline, "baseline", 1)
        if len(held_against) != prompts:
            raise InputError(
                f"expected one for each of {prompts} prompts, found {len(held_against)}", field="baseline"
            )
        gaps = np.asarray(golden, dtype=np.float64) - held_against[:, None]
        wins = tuple(summarise(expected_best(proxy, (np.sign(gaps) + 1.0) / 2.0)))
    bounds = tuple(kl_bound(n) for n in range(1, samples + 1))
    return BestOfN(tuple(summarise(by_prompt)), bounds, wins, by_prompt)


def normalised(
    values: FloatArray,
    base: FloatArray,
    demonstrations: FloatArray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Golden rewards on the scale where the base model's mean is 0 and the demonstrations' mean is 1.

    ``(mean(values) - mean(base)) / (mean(demonstrations) - mean(base))``, the paper's scale (section 4.1).
    Both ends of the scale are measured, too, on the same prompts: row p of all three is prompt p. The
    interval resamples prompts for numerator and denominator together, so what is hard for all cancels. A
    resample in which the demonstrations are not above the base has no such scale, and counts as beyond both
    ends: with more than a few of them the interval is infinite, because the prompts do not fix the scale. The
    standard error is the delta method's.

    Args:
        values: golden rewards, shape (prompts,) or (prompts, columns).
        base: of the base model's answers, shape (prompts,).
        demonstrations: of the demonstrations, shape (prompts,).
        confidence: of the intervals.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        One estimate for each column.

    Raises:
        InputError: fewer than two prompts, different numbers of them, a value that is not finite, or
            demonstrations that are not above the base.
    """
    columns = np.asarray(values, dtype=np.float64)
    columns = _rewards(columns.reshape(-1, 1) if columns.ndim == 1 else columns, "values", 2)
    zero, one = _rewards(base, "base", 1), _rewards(demonstrations, "demonstrations", 1)
    if not len(columns) == len(zero) == len(one):
        found = f"{len(columns)}, {len(zero)} and {len(one)}"
        raise InputError(f"values, base and demonstrations must be of the same prompts, found {found} rows")
    width = one - zero
    scale = float(width.mean())
    if len(zero) < 2 or scale <= 1e-12 * float(np.abs(zero).max() + np.abs(one).max()):
        raise InputError(
            "rewards can be normalised only where the demonstrations' mean is above the base model's, on two "
            f"prompts or more; found {float(one.mean()):.4g} and {float(zero.mean()):.4g} on {len(zero)}"
        )
    rises = columns - zero[:, None]
    weights = resampling_weights(len(zero), resamples, np.random.default_rng(seed))
    estimates: list[Estimate] = []
    for rise, resampled in zip(rises.T, (weights @ rises).T, strict=True):
        mean = float(rise.mean()) / scale
        low, high = _ratio_interval(resampled, weights @ width, confidence)
        estimates.append(Estimate(mean, standard_error(rise - mean * width) / scale, low, high))
    return estimates


def _ratio_interval(over: FloatArray, under: FloatArray, confidence: float) -> tuple[float, float]:
    """Percentiles of a ratio; where the denominator is not positive it counts as below and above all."""
    whole = under > 0
    ratios = np.divide(over, under, out=np.zeros_like(over), where=whole)
    tail = (1 - confidence) / 2 * (len(ratios) - 1)
    # Picked by place: between infinities nothing can be interpolated.
    low = np.sort(np.where(whole, ratios, -np.inf))[math.floor(tail)]
    high = np.sort(np.where(whole, ratios, np.inf))[len(ratios) - 1 - math.floor(tail)]
    return float(low), float(high)


def _ties(proxy: FloatArray) -> tuple[IntArray, IntArray]:
    """The group of equal rewards that each sample is in, the best group being 0, and the groups' sizes."""
    _, group, sizes = np.unique(-proxy, return_inverse=True, return_counts=True)
    return group, sizes


def _rewards(values: FloatArray, name: str, dimensions: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or not array.size:
        wanted = "(samples,)" if dimensions == 1 else "(prompts, samples)"
        raise InputError(f"expected shape {wanted}, none of them 0, found {array.shape}", field=name)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        raise InputError(f"expected finite rewards, found {array[place]}", row=place[0] + 1, field=name)
    return array
