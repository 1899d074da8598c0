import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from pluralign.core import InputError
from pluralign.evaluate.rewards.rank_agreement import rank_agreement

columns = st.integers(3, 24).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n) for _ in range(3)])
)


@given(columns)
def test_it_is_scipys_rho_and_tau_b(given_columns):
    x, y, owner = (np.array(column, dtype=float) for column in given_columns)
    found = rank_agreement(x, y, owner.astype(int), resamples=5)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert found.spearman.value == found.kendall.value == 0.0
    else:
        assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-6)
        assert found.kendall.value == pytest.approx(kendalltau(x, y).statistic, abs=1e-6)


@given(columns)
def test_within_is_the_mean_of_the_decisions_own_taus(given_columns):
    x, y, owner = (np.array(column, dtype=float) for column in given_columns)
    taus = []
    for number in np.unique(owner):
        own = owner == number
        if np.ptp(y[own]) > 0:
            taus.append(kendalltau(x[own], y[own]).statistic if np.ptp(x[own]) > 0 else 0.0)
    found = rank_agreement(x, y, owner.astype(int), resamples=5).within
    assert found.pairs == len(taus)
    assert found.value == pytest.approx(np.mean(taus) if taus else 0.0, abs=1e-6)


def test_golden():
    """Decision 0: 1 2 3 against 1 3 2 (tau 1/3); decision 1: 5 4 against 0 9 (tau -1); mean -1/3.

    Over all: ranks 1 2 3 5 4 against 2 4 3 1 5: sum of d^2 = 1+4+0+16+1 = 22, rho = 1 - 6*22/120 = -0.1.
    """
    x, y = np.array([1.0, 2, 3, 5, 4]), np.array([1.0, 3, 2, 0, 9])
    found = rank_agreement(x, y, np.array([0, 0, 0, 1, 1]), resamples=50)
    assert found.within.value == pytest.approx(-1 / 3)
    assert found.within.pairs == 2
    assert found.spearman.value == pytest.approx(-0.1, abs=1e-6)


def test_offsets_between_decisions_do_not_enter_within():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(40), 3)
    y = rng.normal(size=120)
    x = y + 100 * rng.normal(size=40)[owner]
    found = rank_agreement(x, y, owner)
    assert found.within.value == 1.0
    assert abs(found.spearman.value) < 0.4


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
    """Independent columns: the interval of a 95 % bootstrap over decisions misses zero seldom."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(50), 3)
    misses = 0
    for seed in range(100):
        # Options of a decision share an offset on both sides: rows are not independent, decisions are.
        x, y = (rng.normal(size=50)[owner] * 3 + rng.normal(size=150) for _ in range(2))
        found = rank_agreement(x, y, owner, resamples=200, seed=seed).spearman
        assert found.low <= found.value <= found.high
        misses += not found.low <= 0.0 <= found.high
    assert misses <= 13


def test_one_decision_says_nothing_of_others():
    found = rank_agreement(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4]), np.zeros(4, dtype=int))
    for one in (found.spearman, found.kendall, found.within):
        assert (one.low, one.high) == (-1.0, 1.0)
    assert found.kendall.value == pytest.approx(2 / 3)


def test_intervals_of_the_mean_within_few_decisions_hold_it():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(4), 6)
    held = 0
    for _ in range(200):
        truth = rng.normal(size=24)
        found = rank_agreement(truth, truth + rng.normal(size=24), owner, resamples=50).within
        # Of a pair with correlation sqrt(1/2), tau is 2 / pi asin(sqrt(1/2)) = 1 / 2.
        held += found.low <= 0.5 <= found.high
    assert held / 200 == pytest.approx(0.95, abs=0.04)


def test_it_is_seeded():
    rng = np.random.default_rng(0)
    x, y, owner = rng.normal(size=30), rng.normal(size=30), np.repeat(np.arange(10), 3)
    assert rank_agreement(x, y, owner, seed=1) == rank_agreement(x, y, owner, seed=1)
    assert rank_agreement(x, y, owner, seed=1) != rank_agreement(x, y, owner, seed=2)


@pytest.mark.parametrize(
    ("x", "y", "owner"),
    [([1, 2], [1, 2], [0, 0]), ([1, 2, 3], [1, 2], [0, 0, 0]), ([1, 2, 3], [1, 2, 3], [0, 0])],
)
def test_unusable_columns_are_refused(x, y, owner):
    with pytest.raises(InputError, match="at least three rows"):
        rank_agreement(np.array(x, float), np.array(y, float), np.array(owner))


def test_infinite_values_are_refused():
    with pytest.raises(InputError, match="finite"):
        rank_agreement(np.array([1.0, np.inf, 2]), np.ones(3), np.zeros(3, dtype=int))


@pytest.mark.parametrize(("decisions", "least"), [(2, 0.85), (3, 0.9), (5, 0.93)])
def test_intervals_of_few_decisions_hold_the_correlation(decisions, least):
    """Percentiles of two decisions have it in them in half of the cases, of three in 77 %."""
    rng = np.random.default_rng(0)
    spearman, kendall = 6 / np.pi * np.arcsin(0.3), 2 / np.pi * np.arcsin(0.6)
    covered = np.zeros(2)
    for trial in range(200):
        x = rng.normal(size=3 * decisions)
        y = 0.6 * x + 0.8 * rng.normal(size=len(x))
        found = rank_agreement(x, y, np.repeat(np.arange(decisions), 3), resamples=200, seed=trial)
        for place, (own, truth) in enumerate(((found.spearman, spearman), (found.kendall, kendall))):
            covered[place] += own.low <= truth <= own.high
            assert -1 <= own.low <= own.high <= 1
    assert (covered >= least * 200).all()
