"""Intervals of agreement over processes."""

import math

import numpy as np

from pluralign.evaluate.values.coherence import agreement


def test_few_processes_leave_doubt():
    random = np.random.default_rng(0)
    truth, held = 0.25 + 0.5 * (0.5 + math.asin(0.95) / math.pi), 0
    for _ in range(100):
        # Half of the processes are ordered well, the others by chance.
        alike = np.repeat(random.choice([0.95, 0.0], size=4), 4)
        ends = random.normal(size=16)
        means = alike * ends + np.sqrt(1 - alike**2) * random.normal(size=16)
        found = agreement(means, ends, groups=np.repeat(range(4), 4), resamples=200, seed=0)
        held += found.ordered_alike.low <= truth <= found.ordered_alike.high
    # Percentiles of the resamples hold it in 81.
    assert held >= 85
    one = agreement(means[:4], ends[:4], groups=np.zeros(4, int), resamples=200, seed=0)
    assert (one.ordered_alike.low, one.ordered_alike.high) == (0.0, 1.0)
    assert (one.correlation.low, one.correlation.high) == (-1.0, 1.0)
