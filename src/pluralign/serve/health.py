"""Health checks: what they answer, and a listener of their own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pluralign.serve.connections import BoundedConnection
from pluralign.serve.errors import Refused
from pluralign.serve.service import Service
from pluralign.serve.settings import Limits

# Health checks are few and short.
_LIMITS = Limits(connections=64, connections_per_address=64, idle_seconds=10.0)


def health(service: Service) -> Response:
    """The answer to a health check.

    Raises:
        Refused: Status 503; decoding has stopped, or required lines of the audit file cannot be written.
    """
    if service.engine.failure is not None:
        raise Refused(503, service.engine.failure)
    failure = service.audit_failure()
    return JSONResponse({"status": "ok", **({"audit": failure} if failure else {})})


class HealthServer(uvicorn.Server):
    """A server of health checks alone.

    Args:
        service: The service that is checked.
        is_ending: Function that returns whether the service is shutting down.
    """

    def __init__(self, service: Service, is_ending: Callable[[], bool]) -> None:
        connection: Any = partial(BoundedConnection, _LIMITS)
        super().__init__(
            uvicorn.Config(
                _health_app(service, is_ending), http=connection, ws="none", lifespan="off",
                log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=1,
            )
        )  # fmt: skip

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the main server."""
        yield


def _health_app(service: Service, is_ending: Callable[[], bool]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] != "/health":
                raise Refused(404, "only /health is answered here")
            if scope["method"] not in ("GET", "HEAD"):
                raise Refused(
                    405, f"{scope['method'][:20]} is not allowed here", headers={"Allow": "GET, HEAD"}
                )
            if is_ending():
                raise Refused(503, "the server is shutting down")
            answer = health(service)
        except Refused as error:
            answer = JSONResponse(error.body(), error.status, error.headers)
        await answer(scope, receive, send)

    return app
