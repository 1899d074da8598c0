"""Reading request bodies within limits, and detecting disconnected clients."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from pluralign.serve.errors import Refused
from pluralign.serve.schema import read_json_object
from pluralign.serve.settings import Limits

# A body over the limit is read and discarded up to this size, so that the client sees the response.
_DISCARDED = 32 << 20


class ClientDisconnected(Exception):
    """The client has closed the connection."""


async def read_body(request: Request, limits: Limits) -> dict[str, Any]:
    """Read the JSON object in a request's body.

    Raises:
        Refused: The body is too large, too slow, or not a JSON object.
        ClientDisconnected: The client has closed the connection.
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
            raise ClientDisconnected
        more = message.get("more_body", False)
        size += len(message.get("body", b""))
        if size <= most:
            chunks.append(message.get("body", b""))
        elif size > _DISCARDED:
            break
    if size > most:
        raise Refused(413, f"the body is larger than {most} bytes", code="body_too_large")
    return b"".join(chunks)


async def until_disconnected(request: Request) -> None:
    """Return when the client has disconnected; the body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
