"""Handlers of text requests: parse, decode, and respond, at once or as a stream."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pluralign.core import InputError
from pluralign.serve.answers import Answer, AnswerForm, new_id
from pluralign.serve.api import Kind
from pluralign.serve.bodies import ClientDisconnected, read_body, until_disconnected
from pluralign.serve.errors import Refused
from pluralign.serve.records import RequestRecord, client_of
from pluralign.serve.relevance import FIELD, asks_for_relevance
from pluralign.serve.responses import ResponseForm
from pluralign.serve.service import Service
from pluralign.serve.submission import DecodingFailed, QueueFull, Submission
from pluralign.steer.request_weights import in_order

CLIENT_DISCONNECTED = 499
"""Status recorded when the client disconnects."""
SHUTTING_DOWN = 503
"""Status of a request that is cut off when the server shuts down."""

# Seconds beyond the time limit during which a stream to a slow client may stay open.
_READING_ON = 10.0
# Fields of requests by those of the decoder's requests, where they differ.
_PARAMS = {"schema": "response_format", "prompt_log_probs": "echo"}


async def complete(service: Service, request: Request, kind: Kind) -> Response:
    """Answer a request for text.

    Raises:
        Refused: The request is invalid, too slow, or there is no room for it.
    """
    record = RequestRecord(new_id(kind), kind, client_of(request.scope))
    request.scope["pluralign.recorded"] = True
    try:
        body = await read_body(request, service.limits)
        parsed = await asyncio.to_thread(service.parser.parse, kind, body)
        if asks_for_relevance(body):
            if service.relevance is None:
                raise Refused(400, "this server has no relevance (serve --relevance)", param=FIELD)
            parsed = await service.relevance.weighed(parsed)
        deployment = service.deployment
        weights = in_order(parsed.weights, deployment.objectives)
        intervals = service.intervals_of(parsed.weights)
        answer = Answer(record.id, parsed.model, parsed, weights, service.token_texts, intervals)
        record.answer, form = answer, ResponseForm(answer, body) if kind == "responses" else answer
        submission = _submit(service, record.answer, _refused_before(request))
        try:
            service.begin(record)
        except Refused:
            service.engine.cancel(submission)
            raise
        if parsed.stream:
            return _Stream(service, record, form, submission)
        return await _whole(service, request, record, form, submission)
    except BaseException as error:
        record.status = _status(error)
        record.reason = service.reason(error) if isinstance(error, Refused) else None
        service.finish(record)
        if isinstance(error, ClientDisconnected):
            return Response(status_code=CLIENT_DISCONNECTED)
        raise


def _status(error: BaseException) -> int:
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, asyncio.CancelledError):
        return SHUTTING_DOWN
    return CLIENT_DISCONNECTED if isinstance(error, ClientDisconnected) else 500


def _refused_before(request: Request) -> bool:
    # OpenAI's clients count their retries.
    return request.headers.get("x-stainless-retry-count", "0") != "0"


def _submit(service: Service, answer: Answer, again: bool) -> Submission:
    try:
        return service.engine.submit(answer.request.samples, again)
    except QueueFull as error:
        seconds = service.pace.place_in(len(answer.request.samples))
        raise Refused(
            429,
            "the queue is full; try again after the seconds in Retry-After",
            code="queue_full",
            # OpenAI's clients read the milliseconds, which spread requests within a second.
            headers={
                "Retry-After": str(math.ceil(seconds)),
                "Retry-After-Ms": str(math.ceil(1000 * seconds)),
            },
        ) from error
    except DecodingFailed as error:
        raise Refused(503, str(error), headers={"Retry-After": "10"}) from error


async def _whole(
    service: Service, request: Request, record: RequestRecord, form: AnswerForm, submission: Submission
) -> Response:
    gone = asyncio.create_task(until_disconnected(request))
    written = asyncio.create_task(_write(service, record, form, submission))
    try:
        await asyncio.wait({gone, written}, return_when=asyncio.FIRST_COMPLETED)
        if not written.done():
            raise ClientDisconnected
        written.result()
    finally:
        gone.cancel()
        written.cancel()
        service.engine.cancel(submission)
    content = form.whole()
    service.finish(record)
    return JSONResponse(content, headers={"x-request-id": record.id})


async def _write(service: Service, record: RequestRecord, form: AnswerForm, submission: Submission) -> None:
    async for _ in _events(service, record, form, submission):
        pass
    answer = record.answer
    if answer is not None and (verdicts := service.verdicts_on(answer.request)) is not None:
        left = service.limits.seconds - (time.monotonic() - record.started)
        answer.verdict = (await verdicts.of(answer, service.engine, left)).fields()


async def _events(
    service: Service, record: RequestRecord, form: AnswerForm, submission: Submission
) -> AsyncIterator[list[str]]:
    """Add each event to the answer, and yield its chunks."""
    left = service.limits.seconds - (time.monotonic() - record.started)
    try:
        async for place, event in submission.events(left):
            if record.first_token is None:
                record.first_token = time.monotonic() - record.started
            yield list(form.add(place, event))
    except TimeoutError as error:
        raise Refused(504, f"the answer took longer than {service.limits.seconds:g} seconds") from error
    except InputError as error:
        raise Refused(400, str(error), param=_PARAMS.get(error.field or "", error.field)) from error
    except DecodingFailed as error:
        raise Refused(503, str(error)) from error


class _Stream(StreamingResponse):
    """A streamed answer; when it ends, for any reason, its request is removed from the decoder."""

    def __init__(
        self, service: Service, record: RequestRecord, form: AnswerForm, submission: Submission
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", "x-request-id": record.id}
        super().__init__(
            _chunks(service, record, form, submission),
            headers=headers,
            media_type="text/event-stream; charset=utf-8",
        )
        self._end: Callable[[], None] = lambda: service.engine.cancel(submission)
        self._service, self._record = service, record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._service.limits.seconds + _READING_ON):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            self._record.status = 504
        except asyncio.CancelledError:
            self._record.status = SHUTTING_DOWN
            raise
        finally:
            self._end()
            answer = self._record.answer
            if self._record.status == 200 and answer is not None and None in answer.finish_reasons:
                self._record.status = CLIENT_DISCONNECTED
            scope["pluralign.status"] = self._record.status
            self._service.finish(self._record)


async def _chunks(
    service: Service, record: RequestRecord, form: AnswerForm, submission: Submission
) -> AsyncIterator[str]:
    try:
        for chunk in form.opening():
            yield chunk
        async for chunks in _events(service, record, form, submission):
            for chunk in chunks:
                yield chunk
        for chunk in form.closing():
            yield chunk
    except Refused as error:
        # The status has been sent.
        record.status, record.reason = error.status, service.reason(error)
        for chunk in form.failed(error):
            yield chunk
