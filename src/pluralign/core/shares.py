"""Shares of trials that depend on each other within groups, with intervals."""

from __future__ import annotations

import importlib
import math
from statistics import NormalDist

import numpy as np

from pluralign.core.arrays import FloatArray, IntArray

_NORMAL = NormalDist().inv_cdf(0.975)


def share_of_groups(worths: FloatArray, groups: IntArray) -> tuple[float, float, float]:
    """Mean of trials that are worth 0 to 1, and the ends of its 95 % interval.

    The interval is Wilson's for the effective number of trials (Korn and Graubard 1998): as many independent
    ones as have the share's standard error over groups, fewer by the square of Student's t of trials over
    that of groups. It is between the number of trials and that of groups, if these are of one size: if all
    trials of a group had the same result (Kish 1965). A bootstrap over groups has width 0 if all trials have
    the same result.

    Args:
        worths: Result of each trial, 1 for a hit and 0 for none, shape (trials,).
        groups: Number of each trial's group from 0 on, shape (trials,).

    Returns:
        Mean, lower end and upper end.

    Examples:
        >>> import numpy as np
        >>> from pluralign.core.shares import share_of_groups
        >>> [round(end, 2) for end in share_of_groups(np.ones(9), np.repeat([0, 1, 2], 3))]
        [1.0, 0.44, 1.0]
    """
    sums, sizes = np.bincount(groups, worths), np.bincount(groups)
    trials, number, share = len(worths), len(sizes), float(worths.mean())
    spread = float(((sums - share * sizes) ** 2).sum()) * number / max(number - 1, 1) / trials**2
    effective = fewest = trials**2 / float((sizes**2).sum())
    if spread > 0 and number > 1:
        reach = importlib.import_module("scipy.special").stdtrit([trials - 1, number - 1], 0.975)
        effective = share * (1 - share) / spread * float(reach[0] / reach[1]) ** 2
    effective = min(max(effective, fewest), trials)
    middle, half = share + _NORMAL**2 / (2 * effective), _NORMAL**2 / (4 * effective**2)
    half = _NORMAL * math.sqrt(share * (1 - share) / effective + half)
    low, high = ((middle + sign * half) / (1 + _NORMAL**2 / effective) for sign in (-1, 1))
    # Rounding.
    return share, max(0.0, min(low, share)), min(1.0, max(high, share))
