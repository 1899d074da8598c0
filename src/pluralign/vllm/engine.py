"""vLLM as the engine of ``pluralign serve``."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.serve.submission import DecodingFailed, Job, QueueFull, Submission
from pluralign.steer.requests import Event, Request, TokenLogProb
from pluralign.steer.running import next_event, text_of
from pluralign.vllm.settings import WEIGHTS

_log = logging.getLogger(__name__)


class VllmEngine:
    """Decodes mixtures in vLLM; texts are made of its tokens here, as the own engine makes them.

    Args:
        llm: vLLM's ``AsyncLLM``, with the options of `launch.engine_options`.
        tokenizer: Tokenizer of the model.
        stops: Ids of the tokens that end a text.
        running: Maximum number of requests decoded at once.
        queue: Maximum number of waiting requests.
    """

    def __init__(
        self, llm: Any, tokenizer: PreTrainedTokenizerBase, stops: Sequence[int], running: int, queue: int
    ) -> None:
        self._llm, self._tokenizer, self._stops = llm, tokenizer, frozenset(stops)
        self._most_running, self._most_waiting = running, queue
        self._seats = asyncio.Semaphore(running)
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._numbers = itertools.count()
        self._running = 0
        self._stopping = False
        self.failure: str | None = None

    @property
    def running(self) -> int:
        """Number of requests being decoded."""
        return self._running

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._tasks) - self._running

    def start(self) -> None:
        """Start decoding: vLLM has been started already."""

    def stop(self, timeout: float = 30.0) -> None:
        """Cancel all requests, and end vLLM."""
        self._stopping = True
        self._llm.shutdown(timeout=timeout)
        # It shuts down again when it is deleted, which fails while the interpreter ends.
        self._llm.shutdown = _nothing

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
        if self._stopping or self.failure is not None:
            raise DecodingFailed(self.failure or "the server is shutting down")
        if len(self._tasks) + len(requests) > self._most_running + self._most_waiting * (1 + again):
            raise QueueFull
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue()
        jobs = [Job(request, place, loop, events) for place, request in enumerate(requests)]
        for job in jobs:
            self._tasks[job] = loop.create_task(self._answer(job))
            # Nothing of a task runs that is cancelled before it begins.
            self._tasks[job].add_done_callback(partial(self._leave, job))
        return Submission(jobs, events)

    def cancel(self, submission: Submission) -> None:
        """Cancel unfinished requests."""
        for job in submission.jobs:
            if (task := self._tasks.get(job)) is not None and not job.ended:
                task.cancel()

    async def _answer(self, job: Job) -> None:
        """Decode a request, and send its events."""
        try:
            if job.request.silent and not job.request.prompt_log_probs:
                job.ended = True
                job.events.put_nowait((job.place, Event(next(self._numbers), "", 0, "length")))
                return
            if len(job.request.prompt_ids) < 2:
                raise InputError("vLLM mixes policies after prompts of at least 2 tokens")
            if job.request.prompt_log_probs:
                raise InputError(
                    "vLLM reports no log-probabilities of the prompts of mixtures", field="prompt_log_probs"
                )
            async with self._seats:
                self._running += 1
                try:
                    await self._decode(job)
                finally:
                    self._running -= 1
        except Exception as error:
            self._fail(job, error)

    def _leave(self, job: Job, task: asyncio.Task[None]) -> None:
        """Free the place of a request that has ended."""
        job.ended = job.ended or task.cancelled()
        del self._tasks[job]

    async def _decode(self, job: Job) -> None:
        number, request = next(self._numbers), job.request
        text = text_of(request, self._tokenizer)
        most = request.decoding.max_new_tokens
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        # Leaving the loop early aborts the request in vLLM.
        stream = self._llm.generate(prompt, sampling_params(request, self._stops), f"pluralign-{number}")
        try:
            async for output in stream:
                (part,) = output.outputs
                for i, token in enumerate(part.token_ids):
                    event = next_event(number, token, text, self._stops, most)
                    if part.logprobs and (count := request.alternatives) is not None:
                        event = replace(event, log_prob=log_prob_of(token, part.logprobs[i], count))
                    job.ended = event.finish_reason is not None
                    job.events.put_nowait((job.place, event))
                    if job.ended:
                        return
                if part.finish_reason is not None:
                    raise DecodingFailed(f"vLLM ended the request ({part.finish_reason})")
        finally:
            await stream.aclose()

    def _fail(self, job: Job, error: Exception) -> None:
        """Send a request's error; note whether the engine is dead."""
        if getattr(self._llm, "errored", False):
            self.failure = "vLLM has stopped; its log has the reason"
        error = refusal_of(error) or error
        if not isinstance(error, InputError | DecodingFailed):
            line = (str(error).splitlines() or [""])[0]
            _log.error("decoding failed: %s: %s", type(error).__name__, line)
            error = DecodingFailed(self.failure or "decoding failed")
        job.ended = True
        job.events.put_nowait((job.place, error))


def refusal_of(error: Exception) -> InputError | None:
    """What vLLM refuses about a request; None if the error is no refusal."""
    known: Any = import_module("vllm.exceptions")
    # vLLM 0.31 has the second one alone.
    kind = getattr(known, "VLLMClientError", known.VLLMValidationError)
    if not isinstance(error, kind):
        return None
    return InputError(" ".join(str(error.args[0]).split()), field=getattr(error, "parameter", None))


def log_prob_of(token: int, found: Mapping[int, Any], alternatives: int) -> TokenLogProb:
    """A token's log-probability from vLLM's, which are by token."""
    ranked = sorted((one.rank, other, one.logprob) for other, one in found.items() if one.rank is not None)
    likeliest = tuple((other, log_prob) for rank, other, log_prob in ranked if rank <= alternatives)
    return TokenLogProb(token, found[token].logprob, likeliest)


def _nothing(timeout: float | None = None) -> None:
    """In place of a shutdown that has happened."""


def sampling_params(request: Request, stops: frozenset[int]) -> Any:
    """A request's sampling settings as vLLM's ``SamplingParams``."""
    vllm, settings = (import_module(name) for name in ("vllm", "vllm.sampling_params"))
    how, rules = request.decoding, request.rules
    grammar = None if rules.schema is None else settings.StructuredOutputsParams(json=rules.schema)
    return vllm.SamplingParams(
        max_tokens=how.max_new_tokens, temperature=how.temperature, top_p=how.top_p, top_k=how.top_k,
        min_p=how.min_p, presence_penalty=rules.presence_penalty, frequency_penalty=rules.frequency_penalty,
        logit_bias=dict(rules.logit_bias) or None, structured_outputs=grammar, logprobs=request.alternatives,
        seed=request.seed, stop_token_ids=sorted(stops), detokenize=False,
        output_kind=settings.RequestOutputKind.DELTA, extra_args={WEIGHTS: json.dumps(dict(request.weights))},
    )  # fmt: skip
