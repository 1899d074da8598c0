"""How fast answers end, and so when a refused request finds room."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

# Seconds per answer before any has ended.
_UNKNOWN = 0.5
# Number of requests in the estimate.
_RECENT = 32
# Number of refused requests that are expected again.
_BOOKED = 1024
# Requests are asked to come somewhat later than the estimate says.
_MARGIN = 1.25
# Clients do not obey longer times: OpenAI's own ignores everything above a minute.
_LONGEST = 60


class Pace:
    """Estimates when places become free, from the requests that have ended recently.

    Requests that are refused together are sent to different times, because each takes a place.

    Args:
        running: Number of answers that are decoded at once.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, running: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._running, self._clock = running, clock
        self._ended: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self._in_progress = 0
        self._busy_since = 0.0
        self._duration: float | None = None
        # When refused requests are expected again, with their numbers of answers.
        self._booked: deque[tuple[float, int]] = deque(maxlen=_BOOKED)

    def begun(self) -> None:
        """Note that a request has begun."""
        if not self._in_progress:
            self._busy_since = self._clock()
        self._in_progress += 1

    def finished(self, answers: int, seconds: float) -> None:
        """Note that a request has ended.

        Args:
            answers: Number of its answers.
            seconds: Seconds from its arrival to its end.
        """
        self._duration = seconds if self._duration is None else 0.8 * self._duration + 0.2 * seconds
        if len(self._ended) == _RECENT:
            self._busy_since = self._ended[0][0]
        self._ended.append((self._clock(), answers))
        self._in_progress -= 1
        if not self._in_progress:
            # Time without requests says nothing about the pace.
            self._ended.clear()

    def place_in(self, answers: int) -> float:
        """Seconds until a request that has no place now finds one, from 1 to 60.

        Args:
            answers: Number of its answers.
        """
        now = self._clock()
        self._booked = deque((one for one in self._booked if one[0] > now), maxlen=_BOOKED)
        ahead = sum(count for _, count in self._booked)
        each = _MARGIN * self._seconds_each(now)
        # Requests that are all asked to wait for the shortest time would come together.
        after = self._booked[-1][0] - now + answers * each if self._booked else 1.0
        seconds = min(_LONGEST, max(1.0, after, (ahead + answers) * each))
        self._booked.append((now + seconds, answers))
        return seconds

    def answer_in(self) -> int:
        """Seconds that a request has taken recently, from 1 to 60."""
        return min(_LONGEST, max(1, math.ceil(self._duration or 0.0)))

    def _seconds_each(self, now: float) -> float:
        elapsed = now - self._busy_since if self._in_progress else 0.0
        answers = sum(count for _, count in self._ended)
        if answers:
            # Until a whole batch has ended, the first ones say little.
            return elapsed / max(answers, self._running)
        known = _UNKNOWN if self._duration is None else self._duration / self._running
        return max(known, elapsed / self._running)
