"""Standard errors and intervals."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pluralign.core import InputError
from pluralign.evaluate.rank_correlation import spearman
from pluralign.evaluate.rewards.best_of_n import best_of_n
from pluralign.evaluate.rewards.conflict import find_conflict
from pluralign.evaluate.rewards.separation import separation
from pluralign.evaluate.statistics import (
    Estimate,
    bias_corrected,
    estimate,
    estimate_clusters,
    estimate_columns,
    paired_difference,
    percentile,
    resampling_weights,
    standard_error,
)
from pluralign.evaluate.tail import estimate_tail
from pluralign.evaluate.values.drift import stance_drift
from pluralign.evaluate.values.stances import StanceQuestion

numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


def test_standard_error_by_hand() -> None:
    # Mean 3, squared gaps 4 + 1 + 1 + 4 = 10, variance 10 / 3, over 4.
    assert standard_error([1, 2, 4, 5]) == pytest.approx(math.sqrt(10 / 12))


@given(numbers)
def test_an_interval_holds_its_mean_and_lies_within_the_values(values: list[float]) -> None:
    result = estimate(values, resamples=400, interval=percentile)
    assert min(values) - 1e-6 <= result.low <= result.high <= max(values) + 1e-6
    assert result.mean == pytest.approx(np.mean(values), abs=1e-6)


@given(numbers, st.floats(0.1, 100.0), st.floats(-100.0, 100.0))
def test_estimates_follow_a_change_of_unit(values: list[float], scale: float, shift: float) -> None:
    one = estimate(values, resamples=200)
    other = estimate([scale * v + shift for v in values], resamples=200)
    for ours, theirs in ((one.mean, other.mean), (one.low, other.low), (one.high, other.high)):
        assert theirs == pytest.approx(scale * ours + shift, rel=1e-6, abs=1e-5)
    assert other.stderr == pytest.approx(scale * one.stderr, rel=1e-6, abs=1e-5)


def test_a_constant_has_no_spread() -> None:
    for interval in (percentile, bias_corrected):
        assert estimate([2.0, 2.0, 2.0], interval=interval) == Estimate(2.0, 0.0, 2.0, 2.0)


def test_a_seed_gives_one_interval_and_another_seed_another() -> None:
    values = list(np.random.default_rng(0).normal(size=40))
    assert estimate(values, seed=1) == estimate(values, seed=1)
    assert estimate(values, seed=1) != estimate(values, seed=2)


def test_intervals_agree_with_scipys() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    for interval, method in ((percentile, "percentile"), (bias_corrected, "BCa")):
        ours = estimate(values, interval=interval, resamples=20000)
        theirs = stats.bootstrap(
            (values,),
            np.mean,
            vectorized=True,
            n_resamples=20000,
            method=method,
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bias_correction_moves_the_interval_of_skewed_values_towards_their_tail() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    plain, moved = estimate(values), estimate(values, interval=bias_corrected)
    assert moved.low > plain.low
    assert moved.high > plain.high


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0).normal(size=(50, 400))
    covered = sum(e.low <= 0.0 <= e.high for e in estimate_columns(draws, resamples=500))
    # 380 expected; a percentile interval of 50 values covers about 94 %; four standard deviations are 18.
    assert 355 <= covered <= 395


@pytest.mark.parametrize("number", [2, 3, 5, 12])
def test_intervals_of_few_values_cover_as_well(number: int) -> None:
    draws = np.random.default_rng(number).normal(size=(number, 2000))
    covered = sum(e.low <= 0.0 <= e.high for e in estimate_columns(draws, resamples=100))
    # 1,900 expected, 10 is one standard deviation.
    assert 1860 <= covered <= 1940
    percentiles = estimate_columns(draws, resamples=100, interval=percentile)
    assert sum(e.low <= 0.0 <= e.high for e in percentiles) < 1860


def test_student_s_interval_by_hand() -> None:
    # Mean 2, s = 1, t = 4.302653 with two degrees of freedom.
    found = estimate([1.0, 2.0, 3.0])
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_columns_share_their_resamples() -> None:
    column = np.random.default_rng(0).normal(size=(20, 1))
    first, second = estimate_columns(np.hstack([column, 2 * column]))
    assert second.low == pytest.approx(2 * first.low)
    assert first.low == pytest.approx(estimate(column[:, 0]).low)


def test_resampling_weights_are_resamples() -> None:
    weights = resampling_weights(7, 500, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(1), 1.0)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)
    # A value is left out of a resample with probability (6/7)^7 = 0.34.
    assert (weights == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.03)


def test_pairing_cancels_what_the_seeds_share() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=50) * 10
    first, second = shared + 0.5 + 0.1 * rng.normal(size=50), shared
    paired = paired_difference(first, second)
    assert paired.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert 0.4 < paired.low < 0.5 < paired.high < 0.6
    assert paired.stderr < 0.05 * math.hypot(standard_error(first), standard_error(second))


def test_spearman_by_hand() -> None:
    # Ranks 1 2 3 4 against 1 3 2 4: rho = 1 - 6 * 2 / (4 * 15) = 0.8.
    result = spearman([1.0, 2.0, 3.0, 4.0], [10.0, 300.0, 20.0, 4000.0])
    assert result.value == pytest.approx(0.8)
    # tanh(atanh(0.8) ± 1.95996 sqrt((1 + 0.8² / 2) / (4 - 3))).
    assert (result.low, result.high) == (
        pytest.approx(-0.818816, abs=1e-6),
        pytest.approx(0.997543, abs=1e-6),
    )
    assert result.pairs == 4


@pytest.mark.parametrize("sign", [1, -1])
def test_spearman_of_few_pairs_is_not_certain(sign: int) -> None:
    found = {n: spearman(np.arange(float(n)), sign * np.arange(float(n))) for n in range(3, 9)}
    assert all(result.value == sign for result in found.values())
    # Either monotone order is one of n!: 2 of 6, 2 of 24, 2 of 120.
    ends = {n: min(sign * result.low, sign * result.high) for n, result in found.items()}
    assert ends[3] == -1
    assert ends[4] < 0 < ends[5] < ends[6] < ends[8] < 1
    assert max(sign * found[5].low, sign * found[5].high) == 1


def test_spearmans_interval_of_few_pairs_has_the_correlation_in_it() -> None:
    rng = np.random.default_rng(0)
    slope = 0.9
    # The rank correlation of a normal pair (Pearson 1907).
    true = 6 / math.pi * math.asin(slope / 2)
    for pairs in (4, 6, 8):
        x = rng.normal(size=(200, pairs))
        y = slope * x + math.sqrt(1 - slope**2) * rng.normal(size=(200, pairs))
        found = [spearman(one, other, resamples=2) for one, other in zip(x, y, strict=True)]
        assert np.mean([one.low <= true <= one.high for one in found]) > 0.92


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=15))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    result = spearman(first, second, resamples=50)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)
    else:
        assert result.value == pytest.approx(stats.spearmanr(first, second).statistic)
        assert -1.0 <= result.low <= result.high <= 1.0


def test_pairs_in_one_order_do_not_prove_a_correlation_of_one() -> None:
    """Of ten normal pairs with a correlation of 0.997, a third are in one order, and all resamples too."""
    rng = np.random.default_rng(0)
    truth, covered = 6 / np.pi * np.arcsin(0.997 / 2), 0
    for trial in range(200):
        x = rng.normal(size=10)
        found = spearman(
            x, 0.997 * x + np.sqrt(1 - 0.997**2) * rng.normal(size=10), seed=trial, resamples=200
        )
        covered += found.low <= truth <= found.high
    assert covered >= 185
    ordered = spearman(np.arange(10.0), np.arange(10.0))
    assert ordered.low < 0.99 < ordered.value == ordered.high == 1.0


def test_spearman_of_resamples_that_are_all_constant_is_not_known() -> None:
    # Each resample lacks the one value that differs with a probability of 0.35.
    found = [spearman([5.0] * 9 + [6.0], np.arange(10.0), resamples=1, seed=seed) for seed in range(9)]
    assert all(one.value == pytest.approx(0.522, abs=1e-3) for one in found)
    assert (-1.0, 1.0) in {(one.low, one.high) for one in found}


def test_spearmans_interval_tells_a_trend_from_noise() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(30.0)
    trend = spearman(x, -x + rng.normal(size=30))
    noise = spearman(x, rng.normal(size=30))
    assert trend.high < -0.8
    assert noise.low < 0 < noise.high


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="at least two values"):
        estimate([1.0])
    with pytest.raises(InputError, match="finite"):
        estimate([1.0, math.nan])
    with pytest.raises(InputError, match="confidence"):
        estimate([1.0, 2.0], confidence=1.0)
    with pytest.raises(InputError, match="found 2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="three pairs"):
        spearman([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InputError, match="shape"):
        estimate_columns(np.zeros(3))


def test_clusters_that_say_one_thing_count_once():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    alone = estimate(values, interval=percentile)
    single = estimate_clusters(values, range(60))
    assert (single.mean, single.low, single.high) == pytest.approx((alone.mean, alone.low, alone.high))
    # Five copies of each value say nothing new; as independent values they would.
    copied, owners = np.repeat(values, 5), np.repeat(np.arange(60), 5)
    clustered = estimate_clusters(copied, [str(owner) for owner in owners])
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    narrow = estimate(copied, interval=percentile)
    assert narrow.high - narrow.low < 0.6 * (clustered.high - clustered.low)
    # Clusters of unequal size: the mean is over values.
    assert estimate_clusters([1.0, 1.0, 4.0], "aab").mean == pytest.approx(2.0)
    with pytest.raises(InputError, match="cluster for each of 3 values, found 2"):
        estimate_clusters([1.0, 1.0, 4.0], "ab")


@pytest.mark.parametrize("clusters", [2, 5, 14])
def test_intervals_of_few_clusters_hold_the_mean(clusters):
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(clusters), 6)
    held = 0
    for _ in range(300):
        values = rng.normal(size=clusters)[owners] + rng.normal(size=len(owners))
        found = estimate_clusters(values, owners.tolist())
        held += found.low <= 0 <= found.high
    assert held / 300 == pytest.approx(0.95, abs=0.04)


def test_clusters_of_one_value_are_values_and_one_cluster_says_nothing():
    values = [1.0, 5.0, 2.5, 4.0]
    assert astuple(estimate_clusters(values, "abcd")) == pytest.approx(astuple(estimate(values)))
    with pytest.raises(InputError, match="two clusters or more, found one"):
        estimate_clusters(values, "aaaa")


def test_intervals_of_shares_are_shares():
    # Student's intervals of three prompts reach from -0.73 to 1.98, and from -0.35 to 1.57.
    first, second = ({"p": [1, 2], "q": [0], "r": [3]}, {"p": [2, 3], "q": [1], "r": [2]})
    rewards, worth = np.array([[1.0, 2], [3, 1], [1, 2]]), np.array([[1.0, 2], [1, 2], [0, 1]])
    won = best_of_n(rewards, worth, np.array([1.0, 1.0, 1.0])).win_rate
    samples = {"a": [[0.0, 1, 2], [0, 1, 2]], "b": [[2.0, 1, 0], [0, 1, 2]]}
    asked = [StanceQuestion("t", f"{n}", f"{n}", "yes", "no") for n in range(3)]
    (moved,) = stance_drift(asked, np.array([[0.1, 0.0, 0.4], [1.0, 1.0, 0.6]]), [0, 1])
    for share in (separation(first, second).auc, *won, find_conflict(samples, ["p", "q"]).volume):
        assert 0 <= share.low <= share.mean <= share.high <= 1
    assert -1 <= moved.magnitude.low < moved.magnitude.high == 1


def test_the_mean_of_the_worst_share():
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert estimate_tail(values, 0.4).mean == pytest.approx(1.5)
    # The value at the edge counts in part: one and a half of five.
    assert estimate_tail(values, 0.3).mean == pytest.approx((1.0 + 0.5 * 2.0) / 1.5)
    assert estimate_tail(values, 1.0).mean == pytest.approx(3.0)
    assert estimate_tail(values, 0.01).mean == pytest.approx(1.0)
    whole, mean = estimate_tail(values, 1.0), estimate(values, interval=percentile)
    assert (whole.low, whole.high) == pytest.approx((mean.low, mean.high))
    for share in (0.0, 1.1):
        with pytest.raises(InputError, match="tail"):
            estimate_tail(values, share)


def test_the_interval_of_a_tail_holds_the_truth():
    # The mean of the lower fifth of a standard normal is -phi(q) / 0.2 with q its quantile.
    truth = -np.exp(-(0.8416**2) / 2) / np.sqrt(2 * np.pi) / 0.2
    rng = np.random.default_rng(0)
    found = [estimate_tail(rng.normal(size=200), 0.2, resamples=300, seed=n) for n in range(60)]
    assert sum(one.low <= truth <= one.high for one in found) >= 50
