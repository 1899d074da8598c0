"""Whole answers from a decoder that continues several requests at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from threading import RLock
from typing import Any

from pluralign.steer.requests import Event, Request, parts


class AnswerStreams(ABC):
    """Answers to requests, one event at a time or whole.

    Several of them may be read in turn or by several threads. A step advances the requests of all of them,
    and each gets its own events.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        """Held while requests are checked, admitted, advanced and released."""
        self._unread: dict[int, deque[Event]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which have a lock of their own and none of the requests."""
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.lock, self._unread = RLock(), {}
        self.release(set(self.running))

    @property
    @abstractmethod
    def running(self) -> tuple[int, ...]:
        """Numbers of the unfinished requests."""

    @abstractmethod
    def check(self, request: Request) -> None:
        """Raise `InputError` if a request cannot be admitted."""

    @abstractmethod
    def admit(self, requests: Sequence[Request]) -> tuple[list[int], list[Event]]:
        """Read new requests' prompts; their numbers, and the first events."""

    @abstractmethod
    def step(self) -> list[Event]:
        """Advance all running requests."""

    @abstractmethod
    def release(self, requests: set[int]) -> None:
        """Remove requests, finished or not."""

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """Generate complete texts for requests, in groups that fit in memory.

        Raises:
            InputError: See `admit`; nothing is generated then.
        """
        self._check(requests)
        return [text for part in parts(requests) for text in self._texts(part)]

    def events(self, requests: Sequence[Request]) -> Iterator[Event]:
        """Generate complete texts for requests, one event at a time.

        Requests are admitted at the first event; closing the iterator releases its requests.

        Raises:
            InputError: See `admit`; raised by the call itself, before the first event. A JSON Schema may
                prove too complex later.
        """
        self._check(requests)
        return self._events(requests)

    def _check(self, requests: Sequence[Request]) -> None:
        with self.lock:
            for request in requests:
                self.check(request)

    def _texts(self, requests: Sequence[Request]) -> list[str]:
        texts: dict[int, str] = {}
        for event in self._events(requests):
            texts[event.request] = texts.get(event.request, "") + event.text
        return [texts[number] for number in sorted(texts)]

    def _events(self, requests: Sequence[Request]) -> Iterator[Event]:
        with self.lock:
            numbers, events = self.admit(requests)
            self._unread.update({number: deque() for number in numbers})
            self._keep(events)
        left = set(numbers)
        try:
            while left:
                for event in self._next(left):
                    if event.finish_reason is not None:
                        left.discard(event.request)
                    if event.error is not None:
                        raise event.error
                    yield event
        finally:
            with self.lock:
                self.release(left)
                for number in numbers:
                    del self._unread[number]

    def _next(self, left: set[int]) -> list[Event]:
        """The next events of these requests, after a step if there are none yet."""
        with self.lock:
            if not any(self._unread[number] for number in left):
                if not left <= set(self.running):
                    raise RuntimeError("decoding failed in a step that this request shared with others")
                self._keep(self.step())
            found = [event for number in sorted(left) for event in self._unread[number]]
            for number in left:
                self._unread[number].clear()
            return found

    def _keep(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.request in self._unread:
                self._unread[event.request].append(event)
