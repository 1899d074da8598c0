"""Mixture decoding: each request is continued by its own mixture of policies, with all requests in one batch.

One forward pass per token serves all requests and all policies with positive weight. A request has no row for
a policy of weight zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from pluralign.core import InputError
from pluralign.lm.generation import stop_ids
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.mixture_batch import MixtureBatch
from pluralign.steer.partial_text import PartialText
from pluralign.steer.policy_rows import PolicyRows, Reading
from pluralign.steer.prediction import Entry, Prediction
from pluralign.steer.requests import Event, FinishReason, Request, parts, prompt_tokens


@dataclass
class _Running:
    request: Request
    policies: dict[int, float]
    uniforms: Float[np.ndarray, " tokens"]
    text: PartialText


@dataclass
class _Reading:
    """Requests with prompts that are read in parts."""

    requests: dict[int, _Running]
    entries: list[tuple[int, int, Sequence[int]]]
    parts: Reading
    released: set[int] = field(default_factory=set[int])


class MixtureDecoder:
    """Continues requests with mixtures of policies; requests may be added and removed while others run.

    Args:
        rows: The policies.
        power: Power of the mixture: 0 geometric, 1 arithmetic, -1 harmonic (`mixing.mix_log_probs`).
        prefill: Number of prompt tokens, counted once for every policy that reads them, that are read between
            two tokens of the running requests; None reads all at once.
    """

    def __init__(self, rows: PolicyRows, power: float = GEOMETRIC, prefill: int | None = None) -> None:
        self.rows, self.power, self.prefill = rows, power, prefill
        self._reading: deque[_Reading] = deque()
        self._running: dict[int, _Running] = {}
        self._unread: dict[int, deque[Event]] = {}
        self._batch: MixtureBatch | None = None
        self._count = 0
        self._stops = set(stop_ids(rows.backbone))
        self._limit = rows.context

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the unfinished requests."""
        return (*self._running, *(number for one in self._reading for number in one.requests))

    def admit(self, requests: Sequence[Request]) -> tuple[list[int], list[Event]]:
        """Read new requests' prompts and sample their first tokens.

        Prompts of more than ``prefill`` tokens are read in parts, one before each step.

        Returns:
            The numbers of the requests, and one event for each; of requests that are read in parts, the first
            event comes from a later step.

        Raises:
            InputError: A policy is unknown, or a prompt is empty or too long; no request is admitted then.
        """
        checked = [self._checked(request) for request in requests]
        if not checked:
            return [], []
        numbers = list(range(self._count, self._count + len(checked)))
        self._count += len(checked)
        running = dict(zip(numbers, checked, strict=True))
        entries = [
            (number, policy, one.request.prompt_ids)
            for number, one in running.items()
            for policy in one.policies
        ]
        if self.prefill is not None and prompt_tokens(requests) > self.prefill:
            self._reading.append(_Reading(running, entries, self.rows.read(entries, self.prefill)))
            return numbers, []
        try:
            return numbers, self._start(running, entries, self.rows.admit(entries))
        except BaseException:
            # One of several models may have added its rows before another failed.
            self.release(set(numbers))
            raise

    def step(self) -> list[Event]:
        """Read a part of the prompts that are read in parts, and sample the next token of every running
        request.

        If it fails, all requests are removed, because some of their rows may have advanced.
        """
        try:
            return self._read_on() + self._step()
        except BaseException:
            self.release(set(self.running))
            raise

    def _step(self) -> list[Event]:
        if not self._running:
            return []
        found = self.rows.step({number: one.text.ids[-1] for number, one in self._running.items()})
        requests, rows = list(self._running), list(self.rows.order)
        if self._batch is None or (self._batch.requests, self._batch.rows) != (requests, rows):
            self._batch = self._batch_of(requests, rows, found.states.device)
        return self._choose(self._batch, found)

    def release(self, requests: set[int]) -> None:
        """Remove requests, finished or not."""
        for number in requests:
            self._running.pop(number, None)
        for one in self._reading:
            one.released |= requests & set(one.requests)
        self._reading = deque(one for one in self._reading if one.released < set(one.requests))
        self.rows.release(requests)

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """Generate complete texts for requests, in groups that fit in memory.

        Raises:
            InputError: See `admit`; nothing is generated then.
        """
        for request in requests:
            self._checked(request)
        return [text for part in parts(requests) for text in self._texts(part)]

    def events(self, requests: Sequence[Request]) -> Iterator[Event]:
        """Generate complete texts for requests, one event at a time.

        Several of these iterators may be read in turn. A step advances the requests of all of them, and each
        yields its own events. Requests are admitted at the first event; closing the iterator releases its
        requests.

        Raises:
            InputError: See `admit`; raised by the call itself, before the first event.
        """
        for request in requests:
            self._checked(request)
        return self._events(requests)

    def _texts(self, requests: Sequence[Request]) -> list[str]:
        texts: dict[int, str] = {}
        for event in self._events(requests):
            texts[event.request] = texts.get(event.request, "") + event.text
        return [texts[number] for number in sorted(texts)]

    def _events(self, requests: Sequence[Request]) -> Iterator[Event]:
        numbers, events = self.admit(requests)
        left = set(numbers)
        self._unread.update({number: deque() for number in numbers})
        try:
            self._keep(events)
            while left:
                for number in sorted(left):
                    while self._unread[number]:
                        event = self._unread[number].popleft()
                        if event.finish_reason is not None:
                            left.discard(number)
                        yield event
                if left and not any(self._unread[number] for number in left):
                    if not left <= set(self.running):
                        raise RuntimeError("decoding failed in a step that this request shared with others")
                    self._keep(self.step())
        finally:
            self.release(left)
            for number in numbers:
                del self._unread[number]

    def _keep(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.request in self._unread:
                self._unread[event.request].append(event)

    def _checked(self, request: Request) -> _Running:
        unknown = sorted(set(request.weights) - set(self.rows.names))
        if unknown:
            raise InputError(
                f"unknown objective {unknown[0]!r}; there are {', '.join(self.rows.names)}", field="weights"
            )
        length, most = len(request.prompt_ids), request.decoding.max_new_tokens
        if not length:
            raise InputError("the prompt is empty: it has no tokens")
        if self._limit is not None and length + most > self._limit:
            raise InputError(
                f"{length} prompt tokens and {most} new ones exceed the context of {self._limit}",
                field="max_new_tokens",
            )
        # A policy of weight zero gets no row and costs nothing.
        policies = {
            number: request.weights[name]
            for number, name in enumerate(self.rows.names)
            if request.weights.get(name, 0.0) > 0
        }
        uniforms = np.random.default_rng(request.seed).random(most)
        text = PartialText(self.rows.backbone.tokenizer, request.decoding.stop, request.lead)
        return _Running(request, policies, uniforms, text)

    def _read_on(self) -> list[Event]:
        """Read the next part of the prompts that came first; events of requests that have been read."""
        if not self._reading:
            return []
        one = self._reading[0]
        try:
            next(one.parts)
            return []
        except StopIteration as done:
            enter: Callable[[], Prediction] = done.value
        self._reading.popleft()
        events = self._start(one.requests, one.entries, enter())
        self.release(one.released)
        return [event for event in events if event.request not in one.released]

    def _start(
        self, requests: Mapping[int, _Running], entries: Sequence[tuple[int, int, Sequence[int]]],
        found: Prediction,
    ) -> list[Event]:  # fmt: skip
        """Sample the first tokens of requests, of which the prompts have been read."""
        self._running.update(requests)
        rows = [entry[:2] for entry in entries]
        return self._choose(self._batch_of(list(requests), rows, found.states.device), found)

    def _choose(self, batch: MixtureBatch, found: Prediction) -> list[Event]:
        # The only transfer from the device in a step, whatever the number of requests.
        chosen: Any = batch.choose(found, self.power)
        tokens: list[int] = chosen.tolist()
        events = [self._event(number, token) for number, token in zip(batch.requests, tokens, strict=True)]
        finished = {event.request for event in events if event.finish_reason is not None}
        if finished:
            self.release(finished)
        return events

    def _batch_of(self, requests: Sequence[int], rows: Sequence[Entry], device: torch.device) -> MixtureBatch:
        running = [self._running[number] for number in requests]
        return MixtureBatch(
            requests, rows, [self._running[request].policies[policy] for request, policy in rows],
            [one.request.decoding for one in running],
            [one.uniforms[len(one.text.ids) :] for one in running], device,
        )  # fmt: skip

    def _event(self, number: int, token: int) -> Event:
        one = self._running[number]
        return next_event(number, token, one.text, self._stops, one.request.decoding.max_new_tokens)


def next_event(number: int, token: int, text: PartialText, stops: Collection[int], most: int) -> Event:
    """Append a token to a request's text.

    Args:
        number: Number of the request.
        token: Id of the token.
        text: Text so far.
        stops: Ids of the tokens that end a text.
        most: Largest number of tokens of the text.
    """
    ended = token in stops
    count = len(text.ids) + 1
    last = ended or count == most
    new, stopped = text.add(token, last)
    finish: FinishReason | None = "stop" if ended or stopped else "length" if last else None
    return Event(number, new, count, finish)
