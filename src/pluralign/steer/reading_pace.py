"""Sizes of the parts in which prompts are read between the tokens of running requests."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable

# Duration of a part, in steps of the running requests.
_STEPS = 2.5
# Number of recent steps in the estimate.
_RECENT = 9
# Tokens of the first part, and fewest tokens of any: smaller ones cost nearly as much.
_FIRST, _FEWEST = 32, 16


class ReadingPace:
    """Chooses sizes of parts so that reading a part takes about as long as some steps of the running
    requests, from the durations of recent parts and steps.

    Args:
        clock: Function that returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._steps = deque[float](maxlen=_RECENT)
        self._last: tuple[int, float] | None = None

    def stepped(self, seconds: float) -> None:
        """Note the duration of a step of the running requests, in seconds."""
        self._steps.append(seconds)

    def has_read(self, tokens: int, seconds: float) -> None:
        """Note the duration of a part.

        Args:
            tokens: Number of its tokens; 0 if it is not known.
            seconds: Its duration in seconds.
        """
        if tokens:
            self._last = tokens, seconds

    def tokens(self, most: int) -> int:
        """Number of tokens of the next part while requests are running.

        Args:
            most: Largest number of tokens of a part.
        """
        if self._last is None or not self._steps:
            return min(_FIRST, most)
        tokens, seconds = self._last
        # Parts have a share of cost that does not depend on their size, so the size is approached in steps.
        wanted = tokens * _STEPS * statistics.median(self._steps) / max(seconds, 1e-9)
        found = int(max(_FEWEST, min(wanted, 2 * tokens, most)))
        # Few different sizes, because kernels keep memory for each.
        unit = 1 << max(0, found.bit_length() - 3)
        return min(found // unit * unit, most)
