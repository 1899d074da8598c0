"""Bodies of requests, read within limits, and clients that go away."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from pluralign.serve.errors import Refused
from pluralign.serve.schema import read_json_object
from pluralign.serve.settings import Limits

# A body that is too large is read on and thrown away up to here, so that its sender sees the answer.
_DISCARDED = 32 << 20


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def read_body(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        Refused: it is too large, too slow, or no JSON object.
        ClientGone: the client went away.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, f"the content type must be application/json, found {kind[:60]!r}")
    try:
        async with asyncio.timeout(limits.reading_seconds):
            data = await _read(request, limits.body_bytes)
    except TimeoutError as error:
        raise Refused(408, f"the body did not arrive within {limits.reading_seconds:g} seconds") from error
    return read_json_object(data)


async def _read(request: Request, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        size += len(message.get("body", b""))
        if size <= most:
            chunks.append(message.get("body", b""))
        elif size > _DISCARDED:
            break
    if size > most:
        raise Refused(413, f"the body is larger than {most} bytes", code="body_too_large")
    return b"".join(chunks)


async def until_gone(request: Request) -> None:
    """Returns when the client has gone; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
