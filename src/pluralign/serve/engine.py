"""One thread that owns the decoder: requests come from the event loop, their text goes back to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from pluralign.core import InputError
from pluralign.steer.decoder import Event, MixtureDecoder, Request

_log = logging.getLogger(__name__)


class QueueFull(Exception):
    """There is no room for more requests."""


class EngineFailed(Exception):
    """The decoder broke off; the message says how."""


@dataclass(eq=False)
class _Ticket:
    request: Request
    place: int
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[tuple[int, Event | Exception]]
    number: int | None = None
    ended: bool = False


class Batch:
    """Requests that were submitted together; their events come to the event loop that submitted them."""

    def __init__(
        self, tickets: Sequence[_Ticket], events: asyncio.Queue[tuple[int, Event | Exception]]
    ) -> None:
        self.tickets = tuple(tickets)
        self._events = events

    async def events(self, seconds: float) -> AsyncIterator[tuple[int, Event]]:
        """Each event with its request's place among those submitted, until all have a finish reason.

        Args:
            seconds: all events must come within.

        Raises:
            TimeoutError: they do not.
            EngineFailed: the decoder broke off.
            InputError: the decoder does not take one of them.
        """
        left, end = len(self.tickets), asyncio.get_running_loop().time() + seconds
        while left:
            async with asyncio.timeout_at(end):
                place, event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            left -= event.finish_reason is not None
            yield place, event


class Engine:
    """Decodes requests together, as many at once as there are places; the others wait in order.

    Args:
        decoder: used by the engine's thread alone.
        running: requests that are decoded at once.
        queue: requests that may wait beside them.
        prefill: tokens of prompts, times the policies that read them, that are admitted in one go.
    """

    def __init__(
        self, decoder: MixtureDecoder, running: int = 16, queue: int = 64, prefill: int = 8192
    ) -> None:
        self._decoder = decoder
        self._most_running, self._most_waiting, self._prefill = running, queue, prefill
        self._wake = threading.Condition()
        self._waiting: deque[_Ticket] = deque()
        self._gone: list[_Ticket] = []
        self._running: dict[int, _Ticket] = {}
        self._admitting = 0
        self._stopping = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="pluralign-engine", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Break off whatever runs or waits; returns when the thread has ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def failure(self) -> str | None:
        """Why nothing is decoded any more; None while all is well."""
        return self._failure

    @property
    def running(self) -> int:
        """How many requests are being decoded."""
        return len(self._running) + self._admitting

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def submit(self, requests: Sequence[Request]) -> Batch:
        """Queue requests, all or none; called on the event loop.

        Raises:
            QueueFull: there is no room.
            EngineFailed: nothing is decoded any more.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue()
        tickets = [_Ticket(request, place, loop, events) for place, request in enumerate(requests)]
        with self._wake:
            if self._stopping or self._failure is not None:
                raise EngineFailed(self._failure or "the server is shutting down")
            known = len(self._waiting) + self.running
            if known + len(tickets) > self._most_running + self._most_waiting:
                raise QueueFull
            self._waiting.extend(tickets)
            self._wake.notify()
        return Batch(tickets, events)

    def cancel(self, batch: Batch) -> None:
        """Drop requests before the next step; those that have ended are left as they are."""
        with self._wake:
            self._gone += [ticket for ticket in batch.tickets if not ticket.ended]
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._waiting or self._gone or self._running)
                if self._stopping:
                    break
                released = self._drop()
                admitted = self._next()
                self._admitting = len(admitted)
            try:
                if released:
                    self._decoder.release(released)
                events = self._admit(admitted)
                self._admitting = 0
                events += self._decoder.step()
            except Exception as error:
                if not self._recover(error, admitted):
                    break
                continue
            self._hand_out(events)
        self._end_all(EngineFailed(self._failure or "the server is shutting down"))

    def _drop(self) -> set[int]:
        """Forget cancelled requests; the numbers of those that the decoder knows."""
        numbers = {ticket.number for ticket in self._gone if ticket.number is not None}
        for ticket in self._gone:
            ticket.ended = True
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.ended)
        self._gone.clear()
        known = {number for number in numbers if number in self._running}
        for number in known:
            del self._running[number]
        return known

    def _next(self) -> list[_Ticket]:
        """The requests to admit now: in order, as many as there are places, the first at any length."""
        found: list[_Ticket] = []
        tokens = 0
        while self._waiting and len(self._running) + len(found) < self._most_running:
            request = self._waiting[0].request
            tokens += len(request.prompt_ids) * sum(weight > 0 for weight in request.weights.values())
            if found and tokens > self._prefill:
                break
            found.append(self._waiting.popleft())
        return found

    def _admit(self, tickets: list[_Ticket]) -> list[Event]:
        if not tickets:
            return []
        try:
            numbers, events = self._decoder.admit([ticket.request for ticket in tickets])
        except InputError as error:
            if len(tickets) == 1:
                self._tell([(tickets[0], error)])
                return []
            # One of them is at fault: each for itself, so that the others are answered.
            return [event for ticket in tickets for event in self._admit([ticket])]
        for number, ticket in zip(numbers, tickets, strict=True):
            ticket.number = number
            self._running[number] = ticket
        return events

    def _hand_out(self, events: Sequence[Event]) -> None:
        told: list[tuple[_Ticket, Event | Exception]] = []
        for event in events:
            ticket = self._running.get(event.request)
            if ticket is not None:
                told.append((ticket, event))
                if event.finish_reason is not None:
                    del self._running[event.request]
        self._tell(told)

    def _tell(self, told: Sequence[tuple[_Ticket, Event | Exception]]) -> None:
        """One call to each event loop for all its events of a step."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Ticket, Event | Exception]]] = {}
        for ticket, event in told:
            by_loop.setdefault(ticket.loop, []).append((ticket, event))
        for loop, own in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, own)
            except RuntimeError:
                # The loop is closed: nobody waits there any more.
                _log.debug("events of %d requests had no reader", len(own))

    def _recover(self, error: Exception, admitted: Sequence[_Ticket]) -> bool:
        """Give up all that the decoder was at; whether it can go on."""
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        _log.error("decoding broke off: %s", message, exc_info=_log.isEnabledFor(logging.DEBUG))
        tickets = {*self._running.values(), *admitted}
        self._running.clear()
        self._admitting = 0
        try:
            self._decoder.release(set(self._decoder.running))
        except Exception as second:
            self._failure = f"the decoder is broken ({type(second).__name__})"
        self._tell([(ticket, EngineFailed("decoding broke off")) for ticket in tickets])
        return self._failure is None

    def _end_all(self, error: Exception) -> None:
        with self._wake:
            tickets = [*self._running.values(), *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self._tell([(ticket, error) for ticket in tickets])


def _deliver(told: Sequence[tuple[_Ticket, Event | Exception]]) -> None:
    for ticket, event in told:
        ticket.ended = isinstance(event, Exception) or event.finish_reason is not None
        ticket.events.put_nowait((ticket.place, event))
