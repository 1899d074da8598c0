"""Best of N: every N from one draw, without bias; the bound of the divergence; the normalised scale."""

from itertools import combinations
from math import comb, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.evaluate.rewards.best_of_n import (
    best_of_n,
    expected_best,
    kl_bound,
    normalised,
    rank_probabilities,
)
from pluralign.evaluate.rewards.proxy_point import proxy_point
from pluralign.steer.targets import meet_targets


def by_enumeration(proxy, values):
    """The mean over all subsets of N of the value of the best by proxy, ties shared; for N = 1..M."""
    found = []
    for n in range(1, len(proxy) + 1):
        worth = []
        for drawn in combinations(range(len(proxy)), n):
            top = max(proxy[i] for i in drawn)
            worth.append(np.mean([values[i] for i in drawn if proxy[i] == top]))
        found.append(np.mean(worth))
    return np.array(found)


def test_three_samples_by_hand():
    # N = 1: any; N = 2: {a,b} a, {a,c} a, {b,c} b; N = 3: a.
    curve = expected_best(np.array([[3.0, 2.0, 1.0]]), np.array([[6.0, 0.0, 3.0]]))
    assert curve[0] == pytest.approx([3.0, 4.0, 6.0])


def test_ties_share_by_hand():
    # The two at the top share: N = 2: {a,b} half each, {a,c} a, {b,c} b.
    curve = expected_best(np.array([[1.0, 1.0, 0.0]]), np.array([[6.0, 0.0, 3.0]]))
    assert curve[0] == pytest.approx([3.0, 3.0, 3.0])
    # A proxy that knows nothing chooses at random, whatever N is.
    blind = expected_best(np.zeros((1, 4)), np.array([[1.0, 2.0, 3.0, 6.0]]))
    assert blind[0] == pytest.approx([3.0] * 4)


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-5, 5)), min_size=1, max_size=7),
    st.randoms(use_true_random=False),
)
def test_all_subsets_and_any_order(rows, random):
    proxy, values = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = expected_best(proxy[None], values[None])[0]
    assert found == pytest.approx(by_enumeration(proxy, values), abs=1e-12)
    order = random.sample(range(len(rows)), len(rows))
    assert expected_best(proxy[None, order], values[None, order])[0] == pytest.approx(found, abs=1e-12)
    # Only the order of the proxy counts.
    assert expected_best(np.exp(proxy)[None] * 3, values[None])[0] == pytest.approx(found, abs=1e-12)


def test_hundreds_of_samples_are_stable():
    samples = 700
    found = rank_probabilities(samples)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    for n, rank in ((1, 699), (2, 300), (350, 3), (350, 40), (699, 1), (699, 2), (700, 0)):
        exact = comb(samples - 1 - rank, n - 1) / comb(samples, n)
        assert found[n - 1, rank] == pytest.approx(exact, rel=1e-9, abs=0.0)


def test_unbiased_for_fresh_samples():
    # Golden = proxy = normal: the expected maximum of 1, 2, 3, 4 (order statistics; 0, 1/sqrt(pi), ...).
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(40_000, 5))
    found = expected_best(draws, draws)
    exact = [0.0, 0.5641896, 0.8462844, 1.0293754, 1.1629645]
    error = found.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(found.mean(axis=0) - exact) < 4 * error).all()
    # The same draw estimates small N better than its first N samples alone would.
    assert found[:, 1].var() < draws[:, :2].max(axis=1).var() * 0.7


def test_the_curve_with_its_win_rate():
    proxy = np.array([[1.0, 0.0], [0.0, 1.0]])
    golden = np.array([[2.0, 0.0], [4.0, 6.0]])
    found = best_of_n(proxy, golden, np.array([2.0, 5.0]))
    assert [e.mean for e in found.golden] == pytest.approx([3.0, 4.0])
    assert found.golden_by_prompt == pytest.approx(np.array([[1.0, 2.0], [5.0, 6.0]]))
    # Against 2: a tie and a loss, then the tie; against 5: a loss and a win, then the win.
    assert found.win_rate is not None
    assert [e.mean for e in found.win_rate] == pytest.approx([(0.25 + 0.5) / 2, (0.5 + 1.0) / 2])
    assert found.kl_bound == pytest.approx((0.0, log(2) - 0.5))
    assert best_of_n(proxy, golden).win_rate is None


def test_intervals_cover_and_are_seeded():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        draws = rng.normal(size=(40, 2))
        low, high = ((e := best_of_n(draws, draws, resamples=300, seed=trial).golden[1]).low, e.high)
        covered += low <= 0.5641896 <= high
    assert 176 <= covered <= 199
    draws = rng.normal(size=(40, 3))
    one, two, other = (best_of_n(draws, draws, seed=seed).golden for seed in (0, 0, 1))
    assert one == two
    assert one != other


def test_kl_bound():
    assert kl_bound(1) == 0.0
    # Exact where nothing ties: densities n u^(n-1) against uniform have KL = log n - (n - 1) / n.
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (2, 5):
        density = n * u ** (n - 1)
        assert kl_bound(n) == pytest.approx(float((density * np.log(density)).mean()), abs=1e-6)
    assert kl_bound(2**20) < 13
    with pytest.raises(InputError, match="at least 1"):
        kl_bound(0)


def test_the_ends_of_the_scale():
    rng = np.random.default_rng(0)
    base, demonstrations = rng.normal(size=50), rng.normal(size=50) + 3
    zero, one, middle = normalised(
        np.stack([base, demonstrations, (base + demonstrations) / 2], axis=1), base, demonstrations
    )
    for estimate, value in ((zero, 0.0), (one, 1.0), (middle, 0.5)):
        # On the same prompts the ends are what they are, with no uncertainty.
        assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((value,) * 3, abs=1e-12)
        assert estimate.stderr == pytest.approx(0.0, abs=1e-12)
    free = normalised(rng.normal(size=50) + 1.5, base, demonstrations)[0]
    assert free.low < free.mean < free.high
    assert free.stderr > 0.05


def test_the_scale_is_affine():
    rng = np.random.default_rng(0)
    values, base, demonstrations = rng.normal(size=(30, 4)), rng.normal(size=30), rng.normal(size=30) + 5
    first = normalised(values, base, demonstrations)
    again = normalised(7 * values - 2, 7 * base - 2, 7 * demonstrations - 2)
    for one, other in zip(first, again, strict=True):
        found = (other.mean, other.stderr, other.low, other.high)
        assert found == pytest.approx((one.mean, one.stderr, one.low, one.high))


def test_the_normalised_interval_covers():
    rng = np.random.default_rng(3)
    covered, errors, means = 0, [], []
    for trial in range(200):
        hardness = rng.normal(size=60) * 3
        base, values, demonstrations = (hardness + rng.normal(size=60) + shift for shift in (0.0, 1.0, 2.0))
        found = normalised(values, base, demonstrations, resamples=300, seed=trial)[0]
        covered += found.low <= 0.5 <= found.high
        errors.append(found.stderr)
        means.append(found.mean)
    assert 178 <= covered <= 199
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)


@pytest.mark.parametrize("prompts", [2, 5, 10])
def test_the_normalised_interval_of_few_prompts_covers(prompts):
    """Percentiles of two prompts have the value in them in 58 % of the cases, of five in 86 %."""
    rng = np.random.default_rng(3)
    covered = trials = 0
    for trial in range(400):
        hardness = rng.normal(size=prompts) * 3
        base, values, demonstrations = (
            hardness + rng.normal(size=prompts) / 2 + up for up in (0.0, 0.5, 1.0)
        )
        if demonstrations.mean() > base.mean():
            found = normalised(values, base, demonstrations, resamples=10, seed=trial)[0]
            covered += found.low <= 0.5 <= found.high
            trials += 1
            assert found.low <= found.mean <= found.high
    assert covered > 0.92 * trials


def test_the_interval_of_few_prompts_by_hand():
    """Rises of 1 and 3 over a constant width of 4: Student's interval of their mean, over 4."""
    found = normalised(np.array([1.0, 3.0]), np.zeros(2), np.full(2, 4.0))[0]
    assert (found.low, found.high) == pytest.approx((0.5 - 12.7062 / 4, 0.5 + 12.7062 / 4), abs=1e-4)


def test_a_scale_that_the_prompts_do_not_fix_has_no_bounds():
    base = np.array([0.0, 0.0, 0.0, 0.0])
    demonstrations = np.array([9.0, -4.0, -4.0, 1.0])
    found = normalised(np.array([1.0, 2.0, 0.0, 1.0]), base, demonstrations)[0]
    assert found.mean == pytest.approx(2.0)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert np.isfinite(found.stderr)


def test_refusals():
    good = np.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(InputError, match=r"row 2, field 'proxy'.*nan"):
        best_of_n(np.array([[1.0, 2.0], [3.0, np.nan]]), good)
    with pytest.raises(InputError, match=r"row 1, field 'golden'.*inf"):
        best_of_n(good, np.array([[np.inf, 2.0], [3.0, 4.0]]))
    with pytest.raises(InputError, match="one golden reward for each"):
        best_of_n(good, good[:, :1])
    with pytest.raises(InputError, match="each of 2 prompts, found 3"):
        best_of_n(good, good, np.zeros(3))
    with pytest.raises(InputError, match="shape"):
        best_of_n(good[0], good[0])
    with pytest.raises(InputError, match="two values"):
        best_of_n(good[:1], good[:1])
    with pytest.raises(InputError, match="at least 1"):
        rank_probabilities(0)
    two = np.array([1.0, 2.0])
    for demonstrations in (two, two[::-1], two - 1, two + 1e-13):
        with pytest.raises(InputError, match="only if the demonstrations' mean is above"):
            normalised(two, two, demonstrations)
    with pytest.raises(InputError, match="same prompts, found 2, 2 and 3 rows"):
        normalised(two, two, np.ones(3))
    with pytest.raises(InputError, match="field 'base'"):
        normalised(two, np.array([1.0, np.nan]), two)


def test_the_proxy_point_is_where_the_golden_reward_peaks():
    # The highest reward of each prompt is a mistake.
    proxy = np.tile(np.arange(8.0), (3, 1))
    golden = np.where(proxy == 7, -1.0, proxy) + np.array([[0.0], [1.0], [2.0]])
    found = proxy_point(proxy, golden)
    curve = expected_best(proxy, golden).mean(axis=0)
    assert found.n == 2
    assert curve[found.n - 1] == curve.max()
    assert found.level == pytest.approx(expected_best(proxy, proxy)[0, found.n - 1])
    assert found.lost.mean == pytest.approx(curve.max() - curve[-1])
    assert found.peaks
    # The same rewards are the same level for targets, reached without the mistake's share of best of 8.
    palette = meet_targets(
        {"proxy": proxy.ravel()}, prompts=np.repeat(range(3), 8), exactly={"proxy": found.level}
    )
    assert palette.expected["proxy"] == pytest.approx(found.level)
    rising = proxy_point(proxy, proxy)
    assert (rising.n, rising.peaks, rising.lost.mean) == (8, False, 0.0)


def test_repeated_samples_lose_nothing_by_rounding():
    # The best text was drawn three times: the last three N are the same.
    rng = np.random.default_rng(0)
    for samples in range(5, 40):
        proxy = rng.normal(size=(3, samples)) - 10
        proxy[:, :3] = 0.0
        golden = rng.normal(size=(3, samples)) / 3 - 9
        golden[:, :3] = 0.1
        found = proxy_point(proxy, golden)
        assert (found.n, found.peaks, found.lost.mean) == (samples, False, 0.0)
        # A reward that is the same for all loses nothing either.
        assert not proxy_point(np.zeros_like(proxy), golden).peaks
