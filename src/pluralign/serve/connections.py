"""Connections of clients: time limits, limits of their number, and room for new ones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pluralign.serve.settings import Limits

CLOSING = 1.0
"""Seconds that clients have to receive the errors with which their requests end."""

# Connections accepted while all others have a request in progress, so that health checks are answered.
_RESERVE = 32


class BoundedConnection(H11Protocol):
    """A connection that is closed if its client sends no complete request in time, or if others need room.

    uvicorn's own settings limit the time between two requests, but neither the time until a request's headers
    are complete nor the number of idle connections.

    Args:
        limits: Limits of the connections.
        arguments: Arguments of uvicorn's protocol.
    """

    def __init__(self, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the time limit, and close an older connection if there are too many."""
        super().connection_made(transport)
        self._wait_for_request()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time limit."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle received data; the time limit ends when a request's headers are complete."""
        super().handle_events()
        if self._answering:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Start the time limit of the next request; the rest of a body that is still arriving counts."""
        self._wait_for_request()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Close the connection, unless the answer to a complete request is in progress."""
        if self.waits_for_client:
            self.drop()
        else:
            super().shutdown()

    @property
    def waits_for_client(self) -> bool:
        """Whether the connection waits for its client to send a request or to read an answer."""
        return not self._answering or self.conn.their_state is h11.SEND_BODY or self.flow.write_paused

    def drop(self) -> None:
        """Close the connection, at once if the client does not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def _answering(self) -> bool:
        # There is no cycle before the first request.
        return bool(self.cycle) and not self.cycle.response_complete

    def _wait_for_request(self) -> None:
        self._stop_waiting()
        self._idle_since = self.loop.time()
        self._deadline = self.loop.call_later(self._limits.idle_seconds, self.drop)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _make_room(self) -> None:
        """If there are too many connections, close the one that has waited for its client longest."""
        known: list[BoundedConnection] = [
            one for one in self.connections if isinstance(one, BoundedConnection)
        ]
        address = self.client and self.client[0]
        same = [one for one in known if one.client and one.client[0] == address]
        for group, most in (
            (same, self._limits.connections_per_address),
            (known, self._limits.connections),
        ):
            opened = [one for one in group if not one.transport.is_closing()]
            waiting = [one for one in opened if one is not self and one.waits_for_client]
            if len(opened) > most and waiting:
                min(waiting, key=lambda one: one._idle_since).drop()
            elif len(opened) > most + _RESERVE:
                self.transport.abort()


class DrainingServer(uvicorn.Server):
    """A server of which the end has three stages: requests finish, the rest is cancelled, connections close.

    Args:
        config: uvicorn's settings.
        cancel: Function that ends all requests in progress with an error; called in another thread.
        drain: Seconds that requests in progress have to finish.
        beside: Further server on the same event loop, which ends after this one.
    """

    def __init__(
        self, config: uvicorn.Config, cancel: Callable[[], None], drain: float,
        beside: tuple[uvicorn.Server, socket.socket] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._cancel, self._drain, self._beside = cancel, drain, beside
        self._serving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start both servers."""
        await super().startup(sockets)
        if self._beside is not None:
            server, bound = self._beside
            self._serving = asyncio.create_task(server.serve(sockets=[bound]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and return when all have ended."""
        ending = asyncio.create_task(self._end_requests())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
            if self._beside is not None and self._serving is not None:
                self._beside[0].should_exit = True
                await self._serving

    async def _end_requests(self) -> None:
        await asyncio.sleep(self._drain)
        await asyncio.to_thread(self._cancel)
        await asyncio.sleep(CLOSING)
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedConnection):
                connection.transport.abort()
