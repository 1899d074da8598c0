"""Best-of-N for every N at once, from M samples per prompt.

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
from pluralign.core.arrays import FloatArray
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    FEW,
    RESAMPLES,
    Estimate,
    estimate_columns,
    resampling_weights,
    standard_error,
    student_reach,
)


@dataclass(frozen=True, eq=False)
class BestOfN:
    """Results of best-of-N by one reward; entry k of each sequence is N = k + 1.

    Args:
        golden: Expected golden reward, in that reward's unit.
        kl_bound: Upper bound of the KL divergence from the sampled policy, in nats (`kl_bound`).
        win_rate: Share of prompts, from 0 to 1, on which the best of N has a higher golden reward than the
            baseline, ties counting half; None without a baseline. The interval of prompts that all
            agree has width 0, although few prompts prove little.
        golden_by_prompt: Expected golden reward of each prompt, shape (prompts, samples).
    """

    golden: tuple[Estimate, ...]
    kl_bound: tuple[float, ...]
    win_rate: tuple[Estimate, ...] | None
    golden_by_prompt: FloatArray


def kl_bound(n: int) -> float:
    """``log N - (N - 1) / N`` nats: upper bound of KL(best of N || policy).

    The divergence equals it if no two samples have the same reward, as with continuous rewards, and is
    smaller if samples repeat or tie (formula: Stiennon et al. 2020; proof of the bound: Beirami et al. 2024).

    Raises:
        InputError: N is below 1.
    """
    if n < 1:
        raise InputError(f"must be at least 1, found {n}", field="n")
    return math.log(n) - (n - 1) / n


def rank_probabilities(samples: int) -> FloatArray:
    """Probability that the sample of rank i is the best of N that are drawn from M without replacement.

    ``C(M-1-i, N-1) / C(M, N)``: sample i is drawn, and the N - 1 others all have lower ranks. Computed as
    products of ratios between 0 and 1, without forming binomial coefficients.

    Args:
        samples: Number M of samples.

    Returns:
        Probabilities, shape (M, M): row N - 1, column i (0 is the best). Rows sum to one.

    Raises:
        InputError: There is no sample.
    """
    if samples < 1:
        raise InputError(f"must be at least 1, found {samples}", field="samples")
    n = np.arange(1, samples + 1, dtype=np.float64)[:, None]
    i = np.arange(samples - 1, dtype=np.float64)
    ratios: FloatArray = np.clip((samples - i - n) / (samples - 1 - i), 0.0, 1.0)
    found: FloatArray = np.cumprod(np.hstack([n / samples, ratios]), axis=1, dtype=np.float64)
    return found


def expected_best(proxy: FloatArray, values: FloatArray) -> FloatArray:
    """Unbiased estimate of the expected value of the sample that the proxy selects from N, for every N.

    It is the mean over all subsets of N of the M samples: a U-statistic, unbiased for N new samples.

    Args:
        proxy: Rewards that select, shape (prompts, M).
        values: Values of the samples, shape (prompts, M).

    Returns:
        Expected values, shape (prompts, M); column N - 1 is for N.

    Raises:
        InputError: The shapes are wrong or differ, or a value is not finite.
    """
    chosen_by, worth = _rewards(proxy, "proxy", 2), _rewards(values, "golden", 2)
    if chosen_by.shape != worth.shape:
        raise InputError(
            f"expected one golden reward for each proxy reward, found {worth.shape} for {chosen_by.shape}"
        )
    # In the proxy's order, with each sample's value replaced by the mean over samples with the same reward.
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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BestOfN:
    """Best-of-N curve of a proxy reward, with bootstrap intervals over prompts.

    Args:
        proxy: Rewards that select, shape (prompts, M).
        golden: Golden rewards of the same samples, shape (prompts, M).
        baseline: Golden reward of one deterministic generation per prompt, shape (prompts,).
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Raises:
        InputError: There are fewer than two prompts, the shapes are wrong or differ, or a reward is not
            finite.
    """
    summarise: Callable[[FloatArray], list[Estimate]] = partial(
        estimate_columns, resamples=resamples, seed=seed
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
        shares = summarise(expected_best(proxy, (np.sign(gaps) + 1.0) / 2.0))
        wins = tuple(share.within(0.0, 1.0) for share in shares)
    bounds = tuple(kl_bound(n) for n in range(1, samples + 1))
    return BestOfN(tuple(summarise(by_prompt)), bounds, wins, by_prompt)


def normalised(
    values: FloatArray,
    base: FloatArray,
    demonstrations: FloatArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Golden rewards on a scale where the base model's mean is 0 and the demonstrations' mean is 1.

    ``(mean(values) - mean(base)) / (mean(demonstrations) - mean(base))``, the paper's scale (section 4.1).
    Both ends of the scale are measured as well, on the same prompts: row p of all three is prompt p. The
    interval resamples prompts jointly for numerator and denominator, so that effects of hard prompts cancel.
    In a resample in which the demonstrations are not above the base, the scale is undefined, and it counts as
    beyond both ends; with more than a few of them the interval is infinite, because the prompts do not
    determine the scale. Of few prompts (`statistics.FEW`) the interval is Fieller's (1954) by Student's t,
    which is infinite if the demonstrations are not measurably above the base: percentiles of two prompts have
    the value in them in 58 % of the cases, of five in 86 %. The standard error uses the delta method.

    Args:
        values: Golden rewards, shape (prompts,) or (prompts, columns).
        base: Golden rewards of the base model's answers, shape (prompts,).
        demonstrations: Golden rewards of the demonstrations, shape (prompts,).
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Returns:
        One estimate per column.

    Raises:
        InputError: There are fewer than two prompts or different numbers of them, a value is not finite, or
            the demonstrations are not above the base.
    """
    columns = np.asarray(values, dtype=np.float64)
    columns = _rewards(columns.reshape(-1, 1) if columns.ndim == 1 else columns, "values", 2)
    zero, one = _rewards(base, "base", 1), _rewards(demonstrations, "demonstrations", 1)
    if not len(columns) == len(zero) == len(one):
        found = f"{len(columns)}, {len(zero)} and {len(one)}"
        raise InputError(f"values, base and demonstrations must have the same prompts, found {found} rows")
    width = one - zero
    scale = float(width.mean())
    if len(zero) < 2 or scale <= 1e-12 * float(np.abs(zero).max() + np.abs(one).max()):
        raise InputError(
            "rewards can be normalised only if the demonstrations' mean is above the base model's, on two or "
            f"more prompts; found {float(one.mean()):.4g} and {float(zero.mean()):.4g} on {len(zero)}"
        )
    rises = columns - zero[:, None]
    weights = resampling_weights(len(zero), resamples, np.random.default_rng(seed))
    estimates: list[Estimate] = []
    for rise, resampled in zip(rises.T, (weights @ rises).T, strict=True):
        mean = float(rise.mean()) / scale
        few = len(zero) < FEW
        low, high = _fieller(rise, width) if few else _ratio_interval(resampled, weights @ width)
        estimates.append(Estimate(mean, standard_error(rise - mean * width) / scale, low, high))
    return estimates


def _fieller(over: FloatArray, under: FloatArray) -> tuple[float, float]:
    """Fieller's interval of a ratio of paired means: the ratios r for which Student's interval of
    ``over - r * under`` has 0 in it. Exact for normal values."""
    mean, ratio = float(under.mean()), float(over.mean() / under.mean())
    square = float(student_reach(len(under) - 1)) ** 2 / len(under)
    (own, both), (_, lower) = (square * np.cov(over - ratio * under, under)).tolist()
    room = mean**2 - lower
    if room <= 0:
        return -math.inf, math.inf
    half = math.sqrt(both**2 + room * own)
    return ratio + (-both - half) / room, ratio + (-both + half) / room


def _ratio_interval(over: FloatArray, under: FloatArray) -> tuple[float, float]:
    """Percentile interval of a ratio; a denominator that is not positive counts as beyond both ends."""
    whole = under > 0
    ratios = np.divide(over, under, out=np.zeros_like(over), where=whole)
    tail = (1 - CONFIDENCE) / 2 * (len(ratios) - 1)
    # Selected by index: infinities cannot be interpolated.
    low = np.sort(np.where(whole, ratios, -np.inf))[math.floor(tail)]
    high = np.sort(np.where(whole, ratios, np.inf))[len(ratios) - 1 - math.floor(tail)]
    return float(low), float(high)


def _ties(proxy: FloatArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Index of the tie group of each sample, the best group being 0, and the sizes of the groups."""
    _, group, sizes = np.unique(-proxy, return_inverse=True, return_counts=True)
    return group, sizes


def _rewards(values: FloatArray, name: str, dimensions: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or not array.size:
        wanted = "(samples,)" if dimensions == 1 else "(prompts, samples)"
        raise InputError(f"expected the non-empty shape {wanted}, found {array.shape}", field=name)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        raise InputError(f"expected finite rewards, found {array[place]}", row=place[0] + 1, field=name)
    return array
