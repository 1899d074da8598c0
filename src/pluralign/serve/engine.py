"""Continuous batching in one thread: requests arrive from the event loop, events return to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence

from pluralign.core import InputError
from pluralign.serve.submission import DecodingFailed, Job, QueueFull, Submission, deliver
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.memory import RequestDropped, is_out_of_memory
from pluralign.steer.requests import Event, Request, prompt_tokens

_log = logging.getLogger(__name__)


class DecodingEngine:
    """Decodes requests together, up to a maximum number at once; the others wait in order.

    Args:
        decoder: Decoder, used only by the engine's thread.
        running: Maximum number of requests decoded at once.
        queue: Maximum number of waiting requests.
        prefill: Maximum number of prompt tokens admitted in one step, counted once for every policy that
            reads them; the first request may have more, which a decoder may read in parts.
    """

    def __init__(
        self, decoder: MixtureDecoder, running: int = 16, queue: int = 64, prefill: int = 8192
    ) -> None:
        self._decoder = decoder
        self._most_running, self._most_waiting, self._prefill = running, queue, prefill
        self._wake = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._cancelled: list[Job] = []
        self._running: dict[int, Job] = {}
        self._admitting = 0
        self._stopping = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="pluralign-engine", daemon=True)

    def start(self) -> None:
        """Start decoding."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Cancel all requests, and return when the thread has ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def failure(self) -> str | None:
        """The reason why decoding has stopped; None while it works."""
        return self._failure

    @property
    def running(self) -> int:
        """Number of requests being decoded."""
        with self._wake:
            return len(self._running) + self._admitting

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._waiting)

    def submit(self, requests: Sequence[Request], again: bool = False) -> Submission:
        """Queue all requests or none; call it on the event loop.

        Args:
            requests: Requests of one client.
            again: Whether the client has been refused before; there is twice the room then, so that
                clients that return are not kept out by new ones.

        Raises:
            QueueFull: The queue has no room for all of them.
            DecodingFailed: Decoding has stopped.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue()
        jobs = [Job(request, place, loop, events) for place, request in enumerate(requests)]
        with self._wake:
            if self._stopping or self._failure is not None:
                raise DecodingFailed(self._failure or "the server is shutting down")
            known = len(self._waiting) + self.running
            if known + len(jobs) > self._most_running + self._most_waiting * (1 + again):
                raise QueueFull
            self._waiting.extend(jobs)
            self._wake.notify()
        return Submission(jobs, events)

    def cancel(self, submission: Submission) -> None:
        """Cancel unfinished requests before the next step."""
        with self._wake:
            self._cancelled += [job for job in submission.jobs if not job.ended]
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._stopping or self._waiting or self._cancelled or self._running
                )
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
                events += self._step()
            except Exception as error:
                if not self._recover(error, admitted):
                    break
                continue
            self._route(events)
        self._end_all(DecodingFailed(self._failure or "the server is shutting down"))

    def _drop(self) -> set[int]:
        """Remove cancelled requests; return the numbers of those in the decoder."""
        numbers = {job.number for job in self._cancelled if job.number is not None}
        for job in self._cancelled:
            job.ended = True
        self._waiting = deque(job for job in self._waiting if not job.ended)
        self._cancelled.clear()
        known = {number for number in numbers if number in self._running}
        for number in known:
            del self._running[number]
        return known

    def _next(self) -> list[Job]:
        """Requests to admit now: in order and within both limits, except that the first may have any
        length."""
        found: list[Job] = []
        while self._waiting and len(self._running) + len(found) < self._most_running:
            requests = [job.request for job in (*found, self._waiting[0])]
            if found and prompt_tokens(requests) > self._prefill:
                break
            found.append(self._waiting.popleft())
        return found

    def _admit(self, jobs: list[Job]) -> list[Event]:
        if not jobs:
            return []
        try:
            numbers, events = self._decoder.admit([job.request for job in jobs])
        except InputError as error:
            if len(jobs) == 1:
                self._send([(jobs[0], error)])
                return []
            # One request is invalid: admit each separately, so that the others are answered.
            return [event for job in jobs for event in self._admit([job])]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(jobs) > 1:
                return [event for job in jobs for event in self._admit([job])]
            _log.error("out of memory: a request was refused")
            self._send([(jobs[0], DecodingFailed("there is not enough memory for this request now"))])
            return []
        with self._wake:
            for number, job in zip(numbers, jobs, strict=True):
                job.number = number
                self._running[number] = job
            self._admitting -= len(jobs)
        return events

    def _step(self) -> list[Event]:
        try:
            return self._decoder.step()
        except RequestDropped as error:
            _log.error("%s", error)
            job = self._running.pop(error.number, None)
            if job is not None:
                self._send([(job, DecodingFailed("there is not enough memory for this request now"))])
            return list(error.events)

    def _route(self, events: Sequence[Event]) -> None:
        outgoing: list[tuple[Job, Event | Exception]] = []
        for event in events:
            job = self._running.get(event.request)
            if job is not None:
                outgoing.append((job, event.error or event))
                if event.finish_reason is not None:
                    del self._running[event.request]
        self._send(outgoing)

    def _send(self, outgoing: Sequence[tuple[Job, Event | Exception]]) -> None:
        """Deliver a step's events, with one call per event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job, Event | Exception]]] = {}
        for job, event in outgoing:
            by_loop.setdefault(job.loop, []).append((job, event))
        for loop, own in by_loop.items():
            try:
                loop.call_soon_threadsafe(deliver, own)
            except RuntimeError:
                # The loop is closed, so nothing waits for these events.
                _log.debug("%d events were dropped: their event loop is closed", len(own))

    def _recover(self, error: Exception, admitted: Sequence[Job]) -> bool:
        """Cancel everything in the decoder; return whether decoding can continue."""
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        _log.error("decoding failed: %s", message, exc_info=_log.isEnabledFor(logging.DEBUG))
        jobs = {*self._running.values(), *admitted}
        self._running.clear()
        self._admitting = 0
        try:
            self._decoder.release(set(self._decoder.running))
        except Exception as second:
            self._failure = f"the decoder is broken ({type(second).__name__})"
        self._send([(job, DecodingFailed("decoding failed")) for job in jobs])
        return self._failure is None

    def _end_all(self, error: Exception) -> None:
        with self._wake:
            jobs = [*self._running.values(), *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self._send([(job, error) for job in jobs])
