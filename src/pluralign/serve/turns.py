"""Computations of requests, one at a time in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pluralign.serve.errors import Refused

_WAITING = 8
"""Number of requests that may wait for earlier ones."""

T = TypeVar("T")


class Turns:
    """Runs functions off the event loop, one at a time.

    Args:
        noun: What waits, for messages.
    """

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def take(self, compute: Callable[[], T]) -> T:
        """The result of a function, after those of earlier requests.

        Raises:
            Refused: Status 429; too many requests are waiting.
        """
        if self._waiting >= _WAITING:
            raise Refused(
                429, f"too many {self._noun} are waiting", code="queue_full", headers={"Retry-After": "1"}
            )
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(compute)
        finally:
            self._waiting -= 1
