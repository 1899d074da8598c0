"""What a server needs of an engine that decodes: requests are submitted, and events come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pluralign.steer.requests import Event, Request


class QueueFull(Exception):
    """The queue has no room for the requests."""


class DecodingFailed(Exception):
    """Decoding has failed; the message gives the reason."""


@dataclass(eq=False)
class Job:
    """A request and where its events go.

    Args:
        request: The request.
        place: Its index among those that were submitted together.
        loop: Event loop that submitted it.
        events: Queue of its events, with the index.
        number: Number that the engine gives it; None before.
        ended: Whether nothing more is sent.
    """

    request: Request
    place: int
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[tuple[int, Event | Exception]]
    number: int | None = None
    ended: bool = False


class Submission:
    """Requests submitted together; their events arrive at the event loop that submitted them."""

    def __init__(self, jobs: Sequence[Job], events: asyncio.Queue[tuple[int, Event | Exception]]) -> None:
        self.jobs = tuple(jobs)
        self._events = events

    async def events(self, seconds: float) -> AsyncIterator[tuple[int, Event]]:
        """Yield (index of the request, event) until all requests have a finish reason.

        Args:
            seconds: Time limit for all events.

        Raises:
            TimeoutError: The time limit has passed.
            DecodingFailed: Decoding has failed.
            InputError: The decoder rejects a request.
        """
        left, end = len(self.jobs), asyncio.get_running_loop().time() + seconds
        while left:
            async with asyncio.timeout_at(end):
                place, event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            left -= event.finish_reason is not None
            yield place, event


class Engine(Protocol):
    """Decodes requests together; the server's event loop calls it."""

    @property
    def failure(self) -> str | None:
        """The reason why decoding has stopped; None while it works."""
        ...

    @property
    def running(self) -> int:
        """Number of requests being decoded."""
        ...

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        ...

    def start(self) -> None:
        """Start decoding."""
        ...

    def stop(self, timeout: float = 30.0) -> None:
        """Cancel all requests and end."""
        ...

    def submit(self, requests: Sequence[Request], again: bool = False) -> Submission:
        """Queue all requests or none.

        Args:
            requests: Requests of one client.
            again: Whether the client has been refused before; there is twice the room then, so that
                clients that return are not kept out by new ones.

        Raises:
            QueueFull: The queue has no room for all of them.
            DecodingFailed: Decoding has stopped.
        """
        ...

    def cancel(self, submission: Submission) -> None:
        """Cancel unfinished requests."""
        ...


def deliver(outgoing: Sequence[tuple[Job, Event | Exception]]) -> None:
    """Put events into the queues of their jobs; called on the event loop."""
    for job, event in outgoing:
        job.ended = isinstance(event, Exception) or event.finish_reason is not None
        job.events.put_nowait((job.place, event))
