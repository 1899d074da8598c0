"""Mixture decoding: each request is continued by its own mixture of policies, with all requests in one batch.

One forward pass per token serves all requests and all policies with positive weight. A request has no row for
a policy of weight zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.decoding import Decoding, choose_tokens
from pluralign.lm.generation import stop_ids
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.partial_text import PartialText
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.prediction import Prediction

FinishReason = Literal["stop", "length"]
# Limits on rows and prompt tokens that `generate` decodes together; they bound its memory.
_ROWS = 128
_PROMPT_TOKENS = 32768


@dataclass(frozen=True)
class Request:
    """A prompt to continue, and the mixture that continues it.

    Args:
        prompt_ids: Token ids of the prompt, at least one.
        weights: Weights of the policies, by name; a policy that is not named has weight zero.
        decoding: Sampling settings.
        seed: Random seed of this request; its tokens do not depend on other requests.
        lead: Text of a template before the answer, which is not part of it.
    """

    prompt_ids: Sequence[int]
    weights: SteeringWeights
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 0
    lead: str = ""


@dataclass(frozen=True)
class Event:
    """The next piece of a request's text.

    Args:
        request: Number of the request, as returned by `MixtureDecoder.admit`.
        text: New text; empty while a character or a stop text may be incomplete.
        tokens: Number of tokens generated so far.
        finish_reason: "stop" after an end-of-text token or a stop text, "length" at the limit; None before
            the end.
    """

    request: int
    text: str
    tokens: int
    finish_reason: FinishReason | None


@dataclass
class _Running:
    request: Request
    policies: dict[int, float]
    uniforms: Float[np.ndarray, " tokens"]
    text: PartialText


class MixtureDecoder:
    """Continues requests with mixtures of policies; requests may be added and removed while others run.

    Args:
        rows: The policies.
        power: Power of the mixture: 0 geometric, 1 arithmetic, -1 harmonic (`mixing.mix_log_probs`).
    """

    def __init__(self, rows: PolicyRows, power: float = GEOMETRIC) -> None:
        self.rows, self.power = rows, power
        self._running: dict[int, _Running] = {}
        self._unread: dict[int, deque[Event]] = {}
        self._count = 0
        self._stops = set(stop_ids(rows.backbone))
        self._limit = rows.context

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the unfinished requests."""
        return tuple(self._running)

    def admit(self, requests: Sequence[Request]) -> tuple[list[int], list[Event]]:
        """Read new requests' prompts and sample their first tokens.

        Returns:
            The numbers of the requests, and one event for each.

        Raises:
            InputError: A policy is unknown, or a prompt is empty or too long; no request is admitted then.
        """
        checked = [self._checked(request) for request in requests]
        if not checked:
            return [], []
        numbers = list(range(self._count, self._count + len(checked)))
        self._count += len(checked)
        entries = [
            (number, policy, running.request.prompt_ids)
            for number, running in zip(numbers, checked, strict=True)
            for policy in running.policies
        ]
        try:
            found = self.rows.admit(entries)
            self._running.update(zip(numbers, checked, strict=True))
            return numbers, self._choose(numbers, [entry[:2] for entry in entries], found)
        except BaseException:
            # One of several models may have added its rows before another failed.
            self.release(set(numbers))
            raise

    def step(self) -> list[Event]:
        """Sample the next token of every running request.

        If it fails, all running requests are removed, because some of their rows may have advanced.
        """
        if not self._running:
            return []
        try:
            found = self.rows.step({number: one.text.ids[-1] for number, one in self._running.items()})
            return self._choose(list(self._running), list(self.rows.order), found)
        except BaseException:
            self.release(set(self._running))
            raise

    def release(self, requests: set[int]) -> None:
        """Remove requests, finished or not."""
        for number in requests:
            self._running.pop(number, None)
        self.rows.release(requests)

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """Generate complete texts for requests, in groups that fit in memory.

        Raises:
            InputError: See `admit`; nothing is generated then.
        """
        for request in requests:
            self._checked(request)
        return [text for part in _parts(requests) for text in self._texts(part)]

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
                    if not left <= self._running.keys():
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

    def _choose(self, numbers: list[int], rows: Sequence[tuple[int, int]], found: Prediction) -> list[Event]:
        place = {number: i for i, number in enumerate(numbers)}
        device = found.states.device
        owners = torch.tensor([place[request] for request, _ in rows], device=device)
        weights = torch.tensor(
            [self._running[request].policies[policy] for request, policy in rows], device=device
        )
        mixed = found.mixed(owners, weights, len(numbers), self.power)
        running = [self._running[number] for number in numbers]
        uniforms = torch.tensor([one.uniforms[len(one.text.ids)] for one in running], device=device)
        tokens = choose_tokens(mixed, [one.request.decoding for one in running], uniforms)
        events = [self._event(number, int(tokens[i])) for i, number in enumerate(numbers)]
        finished = {event.request for event in events if event.finish_reason is not None}
        if finished:
            self.release(finished)
        return events

    def _event(self, number: int, token: int) -> Event:
        one = self._running[number]
        ended = token in self._stops
        count = len(one.text.ids) + 1
        last = ended or count == one.request.decoding.max_new_tokens
        new, stopped = one.text.add(token, last)
        finish: FinishReason | None = "stop" if ended or stopped else "length" if last else None
        return Event(number, new, count, finish)


def _parts(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Requests in order, in groups within two limits on the policies' rows."""
    part: list[Request] = []
    rows = tokens = 0
    for request in requests:
        own = sum(weight > 0 for weight in request.weights.values())
        if part and (rows + own > _ROWS or tokens + own * len(request.prompt_ids) > _PROMPT_TOKENS):
            yield part
            part, rows, tokens = [], 0, 0
        part.append(request)
        rows, tokens = rows + own, tokens + own * len(request.prompt_ids)
    if part:
        yield part
