"""Hypervolumes of mean returns, with bootstrap intervals over episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.pareto import checked_points, exact_volume, hypervolume
from pluralign.evaluate.statistics import CONFIDENCE, Estimate, of_resamples, resampling_weights


def estimate_hypervolume(
    episode_returns: Sequence[FloatArray],
    reference: npt.ArrayLike,
    *,
    unit: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Hypervolume of a sweep's mean returns, with an interval from resampled episodes.

    Weightings with equal numbers of episodes were played with the same seeds, so the same episodes are
    resampled for all of them; of few episodes the interval is wider than that of percentiles, which has the
    volume in it in half of the cases with two episodes (`of_resamples`). The front of noisy means is biased
    upwards, more so with fewer episodes. Resampling adds this bias a second time, so the interval can lie
    above the value itself.

    Args:
        episode_returns: Returns of each weighting's episodes, shape (episodes, objectives) each.
        reference: Reference point, shape (objectives,).
        unit: Volume by which all volumes are divided.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the resampling.

    Raises:
        InputError: There is no weighting, or the shapes do not match.
    """
    groups = [checked_points(group) for group in episode_returns]
    if not groups:
        raise InputError("a hypervolume needs at least one weighting's returns")
    rng = np.random.default_rng(seed)
    if len({len(group) for group in groups}) == 1:
        shared = resampling_weights(len(groups[0]), resamples, rng)
        draws = [shared] * len(groups)
    else:
        draws = [resampling_weights(len(group), resamples, rng) for group in groups]
    means = np.stack([draw @ group for draw, group in zip(draws, groups, strict=True)], axis=1)
    found = np.stack([group.mean(0) for group in groups])
    resampled = np.array([hypervolume(points, reference) / unit for points in means])
    volume, episodes = hypervolume(found, reference) / unit, min(len(group) for group in groups)
    return of_resamples(volume, resampled, CONFIDENCE, episodes).within(0.0, math.inf)


def estimate_hypervolume_ratio(
    episode_returns: Sequence[FloatArray],
    exact: npt.ArrayLike,
    reference: npt.ArrayLike,
) -> Estimate:
    """Hypervolume ratio of a sweep's mean returns (`hypervolume_ratio`), with an interval from resampled
    episodes.

    Args:
        episode_returns: Returns of each weighting's episodes, shape (episodes, objectives) each.
        exact: The exact front, shape (points, objectives).
        reference: Reference point, shape (objectives,).

    Raises:
        InputError: See `estimate_hypervolume`; or the exact front dominates no volume.
    """
    unit = exact_volume(exact, reference, hypervolume)
    return estimate_hypervolume(episode_returns, reference, unit=unit)
