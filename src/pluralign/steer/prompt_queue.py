"""Prompts that are read in parts, between the steps of running requests."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pluralign.steer.requests import Event
from pluralign.steer.running import RunningRequest

Parts = Generator[int, None, Callable[[set[int]], list[Event]]]
"""Yields the number of tokens of each part but the last one (0 if it is not known). The value is a function
from the requests that have been released meanwhile to the first events of the others."""


@dataclass(eq=False)
class QueuedPrompts:
    """Requests with prompts that are read together.

    Args:
        requests: The requests by number.
        tokens: Number of tokens of their prompts, counted once for every policy that reads them.
        parts: What reads them.
        scored: Whether log-probabilities of the prompts are computed.
    """

    requests: Mapping[int, RunningRequest]
    tokens: int
    parts: Parts
    scored: bool = False
    released: set[int] = field(default_factory=set[int])

    @property
    def left(self) -> dict[int, RunningRequest]:
        """Requests that have not been released."""
        return {number: one for number, one in self.requests.items() if number not in self.released}


class PromptQueue:
    """Prompts that are read in parts.

    The parts are taken in turn from the prompts that came first and from the shortest ones, so that short
    prompts do not wait for long ones, and no prompt waits for ever.
    """

    def __init__(self) -> None:
        self._queued: list[QueuedPrompts] = []
        self._shortest_next = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the requests in the queue."""
        return tuple(number for one in self._queued for number in one.requests)

    def add(self, one: QueuedPrompts) -> None:
        """Add prompts at the end."""
        self._queued.append(one)

    def release(self, requests: set[int]) -> None:
        """Remove requests; prompts without any left are read no further."""
        for one in self._queued:
            one.released |= requests & set(one.requests)
        self._queued = [one for one in self._queued if one.left]

    def take_all(self) -> Sequence[QueuedPrompts]:
        """Remove everything, and return it."""
        found, self._queued = self._queued, []
        return found

    def read_part(self) -> tuple[int, Callable[[], list[Event]] | None]:
        """Read the next part; nothing if the queue is empty.

        Returns:
            Number of its tokens (0 if it is not known), and, after the last part of prompts, a function that
            returns the first events of their requests.
        """
        if not self._queued:
            return 0, None
        # Of equally short ones, the first.
        one = min(self._queued, key=lambda one: one.tokens) if self._shortest_next else self._queued[0]
        self._shortest_next = not self._shortest_next
        try:
            return next(one.parts), None
        except StopIteration as done:
            enter: Callable[[set[int]], list[Event]] = done.value
        self._queued.remove(one)
        return 0, partial(enter, one.released)
