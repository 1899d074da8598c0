"""Requests for text: from the body to the answer, whole or as it is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pluralign.core import InputError
from pluralign.serve.answers import Answer, new_id, sse
from pluralign.serve.api import Kind
from pluralign.serve.bodies import ClientGone, read_body, until_gone
from pluralign.serve.engine import Batch, EngineFailed, QueueFull
from pluralign.serve.errors import Refused
from pluralign.steer.deployment import in_order

if TYPE_CHECKING:
    from pluralign.serve.app import Service

GONE = 499
"""The status that the record of a request has whose client went away."""
ENDING = 503
"""The status of a request that the server's end cuts off."""

# How much longer than its answer a stream may stay open for a client that does not read.
_READING_ON = 10.0


@dataclass
class Record:
    """What is known of a request for text: for the audit's line and the metrics.

    Args:
        id: its name.
        kind: of the API.
    """

    id: str
    kind: Kind
    started: float = field(default_factory=time.monotonic)
    answer: Answer | None = None
    status: int = 200
    first_token: float | None = None

    def row(self) -> dict[str, Any]:
        """The audit's line."""
        decoding = None if self.answer is None else self.answer.asked.requests[0].decoding
        asked = None if self.answer is None else self.answer.asked
        return {
            "id": self.id,
            "api": self.kind,
            "status": self.status,
            "steering_weights": None if self.answer is None else dict(self.answer.weights),
            "decoding": None if decoding is None else {**vars(decoding), "stop": list(decoding.stop)},
            "samples": 0 if asked is None else len(asked.requests),
            "stream": asked is not None and asked.stream,
            "prompt_tokens": 0 if asked is None else asked.prompt_tokens,
            "completion_tokens": 0 if self.answer is None else sum(self.answer.tokens),
            "finish_reasons": [] if self.answer is None else self.answer.finish_reasons,
            "milliseconds": round(1000 * (time.monotonic() - self.started), 1),
        }


async def complete(service: Service, request: Request, kind: Kind) -> Response:
    """Answer a request for text.

    Raises:
        Refused: it is not answered.
    """
    record = Record(new_id(kind), kind)
    try:
        body = await read_body(request, service.limits)
        asked = await asyncio.to_thread(service.reader.read, kind, body)
        deployment = service.deployment
        weights = in_order(asked.weights, deployment.objectives)
        record.answer = Answer(record.id, deployment.name, asked, weights)
        batch = _submit(service, record.answer)
        if asked.stream:
            return _Stream(service, record, batch)
        return await _whole(service, request, record, batch)
    except BaseException as error:
        record.status = _status(error)
        service.finish(record)
        if isinstance(error, ClientGone):
            return Response(status_code=GONE)
        raise


def _status(error: BaseException) -> int:
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, asyncio.CancelledError):
        return ENDING
    return GONE if isinstance(error, ClientGone) else 500


def _submit(service: Service, answer: Answer) -> Batch:
    try:
        return service.engine.submit(answer.asked.requests)
    except QueueFull as error:
        raise Refused(
            429,
            "too many requests wait already; try again soon",
            code="queue_full",
            headers={"Retry-After": "1"},
        ) from error
    except EngineFailed as error:
        raise Refused(503, str(error), headers={"Retry-After": "10"}) from error


async def _whole(service: Service, request: Request, record: Record, batch: Batch) -> Response:
    gone = asyncio.create_task(until_gone(request))
    written = asyncio.create_task(_write(service, record, batch))
    try:
        await asyncio.wait({gone, written}, return_when=asyncio.FIRST_COMPLETED)
        if not written.done():
            raise ClientGone
        written.result()
    finally:
        gone.cancel()
        written.cancel()
        service.engine.cancel(batch)
    assert record.answer is not None
    content = record.answer.whole()
    service.finish(record)
    return JSONResponse(content, headers={"x-request-id": record.id})


async def _write(service: Service, record: Record, batch: Batch) -> None:
    async for _ in _events(service, record, batch):
        pass


async def _events(service: Service, record: Record, batch: Batch) -> AsyncIterator[list[str]]:
    """The chunks of each event, which the record's answer has taken up."""
    answer = record.answer
    assert answer is not None
    left = service.limits.seconds - (time.monotonic() - record.started)
    try:
        async for place, event in batch.events(left):
            if record.first_token is None:
                record.first_token = time.monotonic() - record.started
            answer.add(place, event)
            yield list(answer.part(place, event))
    except TimeoutError as error:
        raise Refused(504, f"the answer took longer than {service.limits.seconds:g} seconds") from error
    except InputError as error:
        raise Refused(400, str(error)) from error
    except EngineFailed as error:
        raise Refused(503, str(error)) from error


class _Stream(StreamingResponse):
    """An answer as it is written; whatever ends it, the request leaves the decoder."""

    def __init__(self, service: Service, record: Record, batch: Batch) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", "x-request-id": record.id}
        super().__init__(
            _chunks(service, record, batch), headers=headers, media_type="text/event-stream; charset=utf-8"
        )
        self._end: Callable[[], None] = lambda: service.engine.cancel(batch)
        self._service, self._record = service, record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._service.limits.seconds + _READING_ON):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            self._record.status = 504
        except asyncio.CancelledError:
            self._record.status = ENDING
            raise
        finally:
            self._end()
            answer = self._record.answer
            if self._record.status == 200 and answer is not None and None in answer.finish_reasons:
                self._record.status = GONE
            scope["pluralign.status"] = self._record.status
            self._service.finish(self._record)


async def _chunks(service: Service, record: Record, batch: Batch) -> AsyncIterator[str]:
    answer = record.answer
    assert answer is not None
    try:
        for chunk in answer.opening():
            yield chunk
        async for chunks in _events(service, record, batch):
            for chunk in chunks:
                yield chunk
        for chunk in answer.closing():
            yield chunk
    except Refused as error:
        # The status is told already; OpenAI's client raises what a chunk says.
        record.status = error.status
        yield sse(error.body())
