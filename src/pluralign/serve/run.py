"""Starting and stopping a server: its listening socket and its shutdown on signals."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
from collections.abc import Generator
from functools import partial
from typing import Any

import uvicorn

from pluralign.core import InputError
from pluralign.serve.app import make_app
from pluralign.serve.connections import CLOSING, BoundedConnection, DrainingServer
from pluralign.serve.health import HealthServer
from pluralign.serve.service import Service

# Seconds until the engine has certainly ended; what remains then is cut off.
_ENDING = 30.0


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket, so that a port in use is reported before any model is loaded.

    Args:
        host: Host name or address to listen on.
        port: Port to listen on; 0 picks a free one.

    Raises:
        InputError: The address cannot be listened on.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"must be from 0 to 65535, found {port}", field="port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        # A name that is too long for the domain name system is a UnicodeError.
        raise InputError(
            f"cannot listen at {host} port {port}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return bound


@contextlib.contextmanager
def listening(
    host: str, port: int, health_port: int | None = None
) -> Generator[tuple[socket.socket, socket.socket | None]]:
    """Bind the sockets of a server, and close them in the end.

    Args:
        host: See `listen`.
        port: See `listen`.
        health_port: Port of a second listener, which answers health checks alone; None for no such listener.

    Raises:
        InputError: See `listen`.
    """
    with listen(host, port) as bound:
        if health_port is None:
            yield bound, None
            return
        with listen(host, health_port) as health:
            yield bound, health


def make_server(service: Service, drain: float = 10.0, health: socket.socket | None = None) -> uvicorn.Server:
    """Make the server of a service.

    Args:
        service: The service.
        drain: Seconds that requests in progress have to finish when the server ends.
        health: Bound socket of a second listener, which answers health checks alone.
    """
    connection: Any = partial(BoundedConnection, service.limits)
    config = uvicorn.Config(
        make_app(service), http=connection, ws="none", loop="asyncio", lifespan="on", log_level="error",
        access_log=False, server_header=False,
        timeout_keep_alive=math.ceil(service.limits.idle_seconds) + 1,
        timeout_graceful_shutdown=math.ceil(drain + CLOSING + _ENDING),
    )  # fmt: skip
    if health is None:
        return DrainingServer(config, service.engine.stop, drain)
    checks = HealthServer(service, lambda: server.should_exit)
    server = DrainingServer(config, service.engine.stop, drain, (checks, health))
    return server


def run_server(
    service: Service, bound: socket.socket, drain: float = 10.0, health: socket.socket | None = None
) -> None:
    """Serve on a bound socket until SIGINT or SIGTERM.

    Args:
        service: The service.
        bound: The socket.
        drain: Seconds that requests in progress have to finish after a signal.
        health: See `make_server`.
    """
    with _ended_by_signals():
        make_server(service, drain, health).run(sockets=[bound])


@contextlib.contextmanager
def _ended_by_signals() -> Generator[None]:
    """Treat SIGINT and SIGTERM as a normal end: uvicorn shuts down on them and then raises them again."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
