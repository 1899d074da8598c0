"""The proxy point of a reward: the level beyond which a golden reward falls (Moskovitz et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.rewards.best_of_n import expected_best
from pluralign.evaluate.statistics import Estimate, paired_difference

_ROUNDING = 1e-12


@dataclass(frozen=True)
class ProxyPoint:
    """Where best-of-N by a reward has its highest golden reward.

    Args:
        n: Number N of samples at which the mean golden reward is highest; the largest of equals, after which
            it falls.
        level: Mean reward of the best of N, in the reward's own unit: a level for `meet_targets`.
        lost: Golden reward at N minus that at the largest number of samples.
        peaks: Whether N is below the largest number; otherwise more samples may still help.
    """

    n: int
    level: float
    lost: Estimate
    peaks: bool

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"n": self.n, "level": self.level, "lost": self.lost.to_json(), "peaks": self.peaks}


def proxy_point(proxy: FloatArray, golden: FloatArray, *, seed: int = 0) -> ProxyPoint:
    """Find the proxy point of a reward (Moskovitz et al. 2024, arXiv 2310.04373) by best-of-N.

    N is chosen on these prompts, so that what is lost by more samples is too large on average; measure it
    on other prompts.

    Args:
        proxy: Rewards that select, shape (prompts, M).
        golden: Golden rewards of the same samples, shape (prompts, M).
        seed: Random seed of the resampling.

    Raises:
        InputError: There are fewer than two prompts, the shapes are wrong or differ, or a reward is not
            finite.
    """
    reached = expected_best(proxy, golden)
    means = reached.mean(axis=0)
    # Where samples repeat, means differ by rounding alone.
    place = int(np.flatnonzero(means >= means.max() - _ROUNDING * np.abs(golden).max())[-1])
    level = float(expected_best(proxy, proxy)[:, place].mean())
    lost = paired_difference(reached[:, place], reached[:, -1], seed=seed)
    return ProxyPoint(place + 1, level, lost, place + 1 < reached.shape[1])
