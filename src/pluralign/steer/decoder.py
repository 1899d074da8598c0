"""Mixture decoding: each request is continued by its own mixture of policies, all of them together.

One pass for each token serves all requests and all policies that they weigh; a request that gives a policy no
weight has no row there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.generation import draw_tokens, stop_ids
from pluralign.lm.trunk import context_length
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.policy_rows import PolicyRows, Prediction

FinishReason = Literal["stop", "length"]
_HALF = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Decoding:
    """How a request's tokens are chosen.

    Args:
        max_new_tokens: it ends there at the latest.
        temperature: of the mixture's softmax; 0 takes the likeliest token.
        top_p: keep the likeliest tokens that together have this probability.
        top_k: keep so many of the likeliest; 0 keeps all.
        stop: texts at which it ends; they are not part of the answer.
        seed: of its random numbers, which belong to it alone.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("stop", all(self.stop), "texts that are not empty"),
        ):
            if not holds:
                raise InputError(f"must be {rule}, found {getattr(self, name)!r}", field=name)


@dataclass(frozen=True)
class Request:
    """What is to be continued, and by which mixture.

    Args:
        prompt_ids: tokens, at least one.
        weights: of the policies, by name; those that are not named have none.
        decoding: how tokens are chosen.
    """

    prompt_ids: Sequence[int]
    weights: SteeringWeights
    decoding: Decoding = field(default_factory=Decoding)


@dataclass(frozen=True)
class Event:
    """A request's next piece of text.

    Args:
        request: its number, as `MixtureDecoder.admit` gave it.
        text: what is new; empty while a character or a stop text may be half written.
        tokens: chosen so far.
        finish_reason: "stop" at an end of text or a stop text, "length" at the limit; None while it goes on.
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
    ids: list[int] = field(default_factory=list[int])
    told: int = 0
    text: str = ""
    """Of all tokens before `read`."""
    context: int = 0
    """Where the tokens begin that the next ones are decoded with."""
    read: int = 0

    def decoded(self, tokenizer: Any) -> str:
        """The text so far, from the last few tokens and what was decoded before."""

        def decode(ids: list[int]) -> str:
            return str(tokenizer.decode(ids, skip_special_tokens=True))

        known, whole = decode(self.ids[self.context : self.read]), decode(self.ids[self.context :])
        if not whole.startswith(known):
            # A tokenizer whose next token changes what was written: all of it is decoded, again and again.
            self.text, self.context, self.read = "", 0, 0
            known, whole = "", decode(self.ids)
        text = self.text + whole[len(known) :]
        # A character that is half written is not text yet.
        if not text.endswith(_HALF):
            # What shows nothing (a special token) is no context: a first word's space may be left out.
            self.context = self.read if len(text) > len(self.text) else self.context
            self.text, self.read = text, len(self.ids)
        return text


class MixtureDecoder:
    """Continues requests by mixtures of policies; they come and go while others run.

    Args:
        rows: the policies.
        power: of the mixture: 0 geometric, 1 arithmetic, -1 harmonic (`mixing.mix_log_probs`).
    """

    def __init__(self, rows: PolicyRows, power: float = GEOMETRIC) -> None:
        self.rows, self.power = rows, power
        self._running: dict[int, _Running] = {}
        self._unread: dict[int, deque[Event]] = {}
        self._count = 0
        self._stops = set(stop_ids(rows.backbone))
        self._limit = context_length(rows.backbone.model)

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the requests that are not finished."""
        return tuple(self._running)

    def admit(self, requests: Sequence[Request]) -> tuple[list[int], list[Event]]:
        """Read new requests' prompts and choose their first tokens.

        Returns:
            Their numbers, and an event for each.

        Raises:
            InputError: an unknown policy, or a prompt without tokens or too long; none is admitted then.
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
        # First the rows: where their pass fails, nothing has begun.
        found = self.rows.admit(entries)
        self._running.update(zip(numbers, checked, strict=True))
        return numbers, self._choose(numbers, [entry[:2] for entry in entries], found)

    def step(self) -> list[Event]:
        """Choose the next token of every running request."""
        if not self._running:
            return []
        found = self.rows.step({number: one.ids[-1] for number, one in self._running.items()})
        return self._choose(list(self._running), list(self.rows.order), found)

    def release(self, requests: set[int]) -> None:
        """Forget requests, finished or not."""
        for number in requests:
            self._running.pop(number, None)
        self.rows.release(requests)

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """Continue requests to their ends, all at once."""
        texts: dict[int, str] = {}
        for event in self.events(requests):
            texts[event.request] = texts.get(event.request, "") + event.text
        return [texts[number] for number in sorted(texts)]

    def events(self, requests: Sequence[Request]) -> Iterator[Event]:
        """Continue requests to their ends, event by event.

        Several of these may be read in turn: a step continues the requests of all, and each finds its own
        events. Requests are admitted at the first event; closed early, those of this call are released.

        Raises:
            InputError: See `admit`.
        """
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
            raise InputError("the prompt has no token")
        if self._limit is not None and length + most > self._limit:
            raise InputError(
                f"{length} prompt tokens and {most} new ones exceed the context of {self._limit}",
                field="max_new_tokens",
            )
        # A policy without weight takes no part, and costs nothing.
        policies = {
            number: request.weights[name]
            for number, name in enumerate(self.rows.names)
            if request.weights.get(name, 0.0) > 0
        }
        return _Running(request, policies, np.random.default_rng(request.decoding.seed).random(most))

    def _choose(self, numbers: list[int], rows: Sequence[tuple[int, int]], found: Prediction) -> list[Event]:
        place = {number: i for i, number in enumerate(numbers)}
        device = found.states.device
        owners = torch.tensor([place[request] for request, _ in rows], device=device)
        weights = torch.tensor(
            [self._running[request].policies[policy] for request, policy in rows], device=device
        )
        mixed = found.mixed(owners, weights, len(numbers), self.power)
        running = [self._running[number] for number in numbers]
        uniforms = torch.tensor([one.uniforms[len(one.ids)] for one in running], device=device)
        tokens = choose_tokens(mixed, [one.request.decoding for one in running], uniforms)
        events = [self._event(number, int(tokens[i])) for i, number in enumerate(numbers)]
        finished = {event.request for event in events if event.finish_reason is not None}
        if finished:
            self.release(finished)
        return events

    def _event(self, number: int, token: int) -> Event:
        one = self._running[number]
        decoding = one.request.decoding
        ended = token in self._stops
        one.ids.append(token)
        finish: FinishReason | None = "stop" if ended else None
        if finish is None and len(one.ids) == decoding.max_new_tokens:
            finish = "length"
        text = one.decoded(self.rows.backbone.tokenizer)
        found = min((i for stop in decoding.stop if (i := text.find(stop)) >= 0), default=-1)
        if found >= 0:
            text, finish = text[:found], "stop"
        end = len(text) if finish is not None else _certain(text, decoding.stop)
        new = text[one.told : max(one.told, end)]
        one.told += len(new)
        return Event(number, new, len(one.ids), finish)


def in_parts(requests: Sequence[Request], tokens: int = 32768) -> Iterator[list[Request]]:
    """Requests in their order, as many at a time as have prompts within a budget.

    Args:
        requests: The requests.
        tokens: Tokens of prompts, counted once per policy, that are read together at most. It bounds memory.
    """
    part: list[Request] = []
    held = 0
    for request in requests:
        own = len(request.prompt_ids) * sum(weight > 0 for weight in request.weights.values())
        if part and held + own > tokens:
            yield part
            part, held = [], 0
        part.append(request)
        held += own
    if part:
        yield part


def choose_tokens(
    log_probs: Float[Tensor, "rows vocabulary"],
    decodings: Sequence[Decoding],
    uniforms: Float[Tensor, " rows"],
) -> Int[Tensor, " rows"]:
    """The next token of each row, by its own temperature, top-k and top-p.

    Top-k and top-p look at the distribution at that temperature; both keep at least one token.

    Args:
        log_probs: nats.
        decodings: of each row.
        uniforms: a number from 0 to below 1 for each row.
    """
    device = log_probs.device
    temperatures = torch.tensor([d.temperature for d in decodings], device=device)
    greedy = log_probs.argmax(-1)
    if bool((temperatures == 0).all()):
        return greedy
    scaled = log_probs / temperatures.clamp(min=1e-6)[:, None]
    for row, decoding in enumerate(decodings):
        if decoding.temperature and (decoding.top_k or decoding.top_p < 1):
            scaled[row] = _kept(scaled[row], decoding)
    return torch.where(temperatures == 0, greedy, draw_tokens(scaled, uniforms, 1.0))


def _kept(logits: Float[Tensor, " vocabulary"], decoding: Decoding) -> Float[Tensor, " vocabulary"]:
    """The logits with what top-k and top-p leave out at -inf."""
    order = logits.argsort(descending=True, stable=True)
    keep = order[: decoding.top_k or None]
    if decoding.top_p < 1:
        before = logits[keep].softmax(-1).double().cumsum(-1).roll(1)
        before[0] = 0.0
        keep = keep[before < decoding.top_p]
    return torch.full_like(logits, float("-inf")).index_copy(0, keep, logits[keep])


def _certain(text: str, stops: Sequence[str]) -> int:
    """How much of a text can be told: not a half-written character, nor what may become a stop text."""
    end = len(text)
    while end and text[end - 1] == _HALF:
        end -= 1
    for stop in stops:
        for length in range(min(len(stop) - 1, end), 0, -1):
            if text.endswith(stop[:length], 0, end):
                end -= length
                break
    return end
