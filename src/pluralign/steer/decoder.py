"""Mixture decoding: each request is continued by its own mixture of policies, all requests in one batch.

One forward pass per token serves all requests; policies of weight zero have no rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from pluralign.steer.answer_streams import AnswerStreams
from pluralign.steer.memory import RequestDropped, free_memory, is_out_of_memory
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.mixture_batch import MixtureBatch
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.prediction import Entry, Prediction
from pluralign.steer.prompt_queue import Parts, PromptQueue, QueuedPrompts
from pluralign.steer.prompt_scores import score_prompt
from pluralign.steer.reading_pace import ReadingPace
from pluralign.steer.requests import Event, Request, prompt_tokens
from pluralign.steer.running import Admission, RunningRequest, next_event


class MixtureDecoder(AnswerStreams):
    """Continues requests with mixtures of policies; requests may be added and removed while others run.

    Args:
        rows: The policies.
        power: Power of the mixture: 0 geometric, 1 arithmetic, -1 harmonic (`mixing.mix_log_probs`).
        prefill: Number of prompt tokens, counted once for every policy that reads them, that are read between
            two tokens of the running requests; None reads all at once.
        pace: Chooses smaller parts while requests are running; without it, parts always have ``prefill``
            tokens.
    """

    def __init__(
        self, rows: PolicyRows, power: float = GEOMETRIC, prefill: int | None = None,
        pace: ReadingPace | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.rows, self.power, self.prefill, self._pace = rows, power, prefill, pace
        self._prompts = PromptQueue()
        self._running: dict[int, RunningRequest] = {}
        self._batch: MixtureBatch | None = None
        self._count = 0
        self._admission = Admission(rows)

    def check(self, request: Request) -> None:
        """See `AnswerStreams.check`."""
        self._admission.check(request)

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the unfinished requests."""
        return (*self._running, *self._prompts.numbers)

    def admit(self, requests: Sequence[Request]) -> tuple[list[int], list[Event]]:
        """Read new requests' prompts and sample their first tokens.

        Prompts of more tokens than a part are read in parts, one before each step. So are prompts of which
        the log-probabilities are asked for.

        Returns:
            The numbers of the requests, and one event for each; of requests that are read in parts, the first
            event comes from a later step.

        Raises:
            InputError: A policy is unknown, a prompt is empty or too long, or a JSON Schema cannot be
                followed; no request is admitted then.
        """
        checked = [self._admission.check(request) for request in requests]
        numbers = list(range(self._count, self._count + len(checked)))
        self._count += len(checked)
        running = dict(zip(numbers, checked, strict=True))
        for number, one in running.items():
            if one.request.prompt_log_probs:
                self._prompts.add(self._scored(number, one))
        rest = {n: one for n, one in running.items() if not one.request.prompt_log_probs}
        silent = [Event(n, "", 0, "length") for n, one in rest.items() if one.request.silent]
        return numbers, [*silent, *self._enter({n: one for n, one in rest.items() if not one.request.silent})]

    def _enter(self, running: Mapping[int, RunningRequest]) -> list[Event]:
        """Read prompts, and sample their first tokens unless they are read in parts."""
        if not running:
            return []
        entries = [
            (number, policy, one.request.prompt_ids)
            for number, one in running.items()
            for policy in one.policies
        ]
        tokens = prompt_tokens([one.request for one in running.values()])
        if tokens > self._size(tokens):
            self._prompts.add(QueuedPrompts(running, tokens, self._read(running, entries)))
            return []
        try:
            return self._start(running, entries, self.rows.admit(entries))
        except BaseException as error:
            # One of several models may have added its rows before another failed.
            self.release(set(running))
            if is_out_of_memory(error):
                self._read_again()
            raise

    def _read_again(self) -> None:
        """Remove all rows, which may be incomplete, and read prompts and texts so far again, in parts."""
        found, queued = dict(self._running), self._prompts.take_all()
        self.rows.release({number for number, _ in self.rows.order})
        self._running, self._batch = {}, None
        free_memory()
        for prompts in queued:
            if prompts.scored:
                for number, one in prompts.left.items():
                    self._prompts.add(self._scored(number, one))
            else:
                found |= prompts.left
        for number, one in sorted(found.items()):
            entries = [(number, policy, one.ids) for policy in one.policies]
            tokens = len(entries) * len(one.ids)
            self._prompts.add(QueuedPrompts({number: one}, tokens, self._read({number: one}, entries)))

    def _size(self, whole: int) -> int:
        """Number of tokens of the next part of prompts that have this many."""
        if self.prefill is None:
            return whole
        if self._pace is None or not self._running:
            return self.prefill
        return self._pace.tokens(self.prefill)

    def _read(
        self, running: Mapping[int, RunningRequest], entries: Sequence[tuple[int, int, Sequence[int]]]
    ) -> Parts:
        """Read prompts in parts, then sample the first tokens of their requests."""
        whole = sum(len(ids) for _, _, ids in entries)
        enter = yield from self.rows.read(entries, lambda: self._size(whole))

        def finish(released: set[int]) -> list[Event]:
            found = self._start(running, entries, enter())
            self.release(released)
            return [event for event in found if event.request not in released]

        return finish

    def _scored(self, number: int, one: RunningRequest) -> QueuedPrompts:
        tokens = prompt_tokens([one.request])
        return QueuedPrompts({number: one}, tokens, self._score(number, one), scored=True)

    def _score(self, number: int, one: RunningRequest) -> Parts:
        """Compute the log-probabilities of a prompt in parts, then read it to continue it."""
        ids, alternatives = one.request.prompt_ids, one.request.alternatives or 0
        scores = yield from score_prompt(
            self.rows, one.policies, ids, alternatives, self.power, lambda: self._size(len(ids))
        )
        if one.request.silent:
            return lambda _: [Event(number, "", 0, "length", prompt=scores)]
        return lambda _: [Event(number, "", 0, None, prompt=scores), *self._enter({number: one})]

    def step(self) -> list[Event]:
        """Read a part of the prompts that are read in parts, and sample the next token of every running
        request.

        If it fails, all requests are removed, because some of their rows may have advanced.

        Raises:
            RequestDropped: Memory was too short; only the newest request was removed.
        """
        events: list[Event] = []
        try:
            for part in (self._read_on, self._step):
                events += part()
        except BaseException as error:
            if is_out_of_memory(error) and len(self.running) > 1:
                self.release({newest := max(self.running)})
                self._read_again()
                raise RequestDropped(newest, events) from error
            self.release(set(self.running))
            raise
        return events

    def _step(self) -> list[Event]:
        if not self._running:
            return []
        began = self._time()
        found = self.rows.step({number: one.text.ids[-1] for number, one in self._running.items()})
        requests, rows = list(self._running), list(self.rows.order)
        if self._batch is None or (self._batch.requests, self._batch.rows) != (requests, rows):
            self._batch = self._batch_of(requests, rows, found.device)
        events = self._choose(self._batch, found)
        if self._pace is not None:
            self._pace.stepped(self._time() - began)
        return events

    def release(self, requests: set[int]) -> None:
        """Remove requests, finished or not."""
        for number in requests:
            self._running.pop(number, None)
        self._prompts.release(requests)
        self.rows.release(requests)

    def _read_on(self) -> list[Event]:
        """Read the next part of the prompts in the queue; events of requests that have been read."""
        began = self._time()
        tokens, enter = self._prompts.read_part()
        if self._pace is not None:
            self._pace.has_read(tokens, self._time() - began)
        return [] if enter is None else enter()

    def _time(self) -> float:
        """Time in seconds when the device has done what it was given; 0 if no time is measured."""
        if self._pace is None:
            return 0.0
        if self.rows.backbone.device.type != "cpu":
            torch.accelerator.synchronize(self.rows.backbone.device)
        return self._pace.clock()

    def _start(
        self, requests: Mapping[int, RunningRequest], entries: Sequence[tuple[int, int, Sequence[int]]],
        found: Prediction,
    ) -> list[Event]:  # fmt: skip
        """Sample the first tokens of requests, of which the prompts have been read."""
        self._running.update(requests)
        rows = [entry[:2] for entry in entries]
        return self._choose(self._batch_of(list(requests), rows, found.device), found)

    def _choose(self, batch: MixtureBatch, found: Prediction) -> list[Event]:
        chosen = batch.choose(found, self.power)
        events = [
            replace(self._event(number, token), log_prob=log_prob) if number not in batch.failed
            else Event(number, "", len(self._running[number].text.ids), "stop", error=batch.failed[number])
            for number, (token, log_prob) in zip(batch.requests, chosen, strict=True)
        ]  # fmt: skip
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
            [one.rules for one in running], [one.request.alternatives for one in running],
        )  # fmt: skip

    def _event(self, number: int, token: int) -> Event:
        one = self._running[number]
        most = one.request.decoding.max_new_tokens
        return next_event(number, token, one.text, self._admission.stops, most)
