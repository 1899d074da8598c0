"""Hypervolume ratios of sweeps, and their intervals."""

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.core.pareto import hypervolume
from pluralign.evaluate.hypervolume import estimate_hypervolume, estimate_hypervolume_ratio


def test_ratio_of_a_sweep_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    exact = truth * 1.5
    noise = rng.normal(size=(200, 2))
    shared = [point + noise for point in truth]
    means = np.stack([group.mean(0) for group in shared])
    result = estimate_hypervolume_ratio(shared, exact, [0.0, 0.0])
    assert result.mean == pytest.approx(hypervolume(means, [0, 0]) / hypervolume(exact, [0, 0]))
    assert result.low < result.mean < result.high
    # A standard error of 0.07 in each coordinate moves the stairs' area of 6 by about 0.07 * sqrt(18) = 0.3.
    assert result.stderr == pytest.approx(0.3 / 13.5, rel=0.25)
    constant = estimate_hypervolume_ratio([np.tile(p, (5, 1)) for p in truth], exact, [0.0, 0.0])
    assert (constant.low, constant.mean, constant.high) == pytest.approx([6 / 13.5] * 3)
    assert constant.stderr == pytest.approx(0.0)


def test_weightings_may_have_different_numbers_of_episodes() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal([1, 3], 0.1, (20, 2)), rng.normal([3, 1], 0.1, (30, 2))]
    result = estimate_hypervolume_ratio(groups, [[3.0, 3.0]], [0.0, 0.0])
    assert result.mean == pytest.approx(5 / 9, abs=0.05)
    assert result == estimate_hypervolume_ratio(groups, [[3.0, 3.0]], [0.0, 0.0])


def test_no_weighting_is_refused() -> None:
    with pytest.raises(InputError, match="at least one weighting"):
        estimate_hypervolume_ratio([], [[1.0, 1.0]], [0.0, 0.0])


@pytest.mark.parametrize("episodes", [2, 3, 10])
def test_intervals_of_few_episodes_hold_the_volume(episodes: int) -> None:
    """Percentiles of two resampled episodes have it in them in half of the cases, of three in 70 %."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        returns = rng.normal([2.0, 1.0], 0.1, (episodes, 2))
        found = estimate_hypervolume([returns], [0.0, 0.0], resamples=200, seed=trial)
        covered += found.low <= 2.0 <= found.high
    assert 272 <= covered <= 298


def test_one_episode_says_nothing_about_others() -> None:
    found = estimate_hypervolume([np.array([[2.0, 1.0]])], [0.0, 0.0])
    assert (found.mean, found.low, found.high) == (2.0, 0.0, np.inf)
