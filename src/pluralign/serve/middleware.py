"""ASGI middleware: host and token checks, response headers, request counts."""

from __future__ import annotations

import asyncio
import hmac
import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pluralign.serve.errors import Refused
from pluralign.serve.service import Service

_log = logging.getLogger(__name__)

OPEN = ("/", "/health", "/openapi.json")
"""Paths that require no token."""

HEALTH = "/health"
"""Path that is answered whatever the number of requests."""


class RequestMiddleware:
    """Checks and counts each request before the application sees it.

    Args:
        app: The wrapped application.
        service: The access rules and metrics.
        paths: Paths that are counted by name; all others are counted together.
    """

    def __init__(self, app: ASGIApp, service: Service, paths: tuple[str, ...]) -> None:
        self.app, self._service, self._paths = app, service, frozenset(paths)
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or answer with an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def pass_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "no-referrer")
                headers.setdefault("cache-control", "no-store")
            await send(message)

        self._in_progress += 1
        try:
            self._check(scope)
            await self.app(scope, receive, pass_on)
        except Refused as error:
            scope["pluralign.refused"] = error
            answer = JSONResponse(error.body(), error.status, error.headers)
            await answer(scope, receive, pass_on)
        except asyncio.CancelledError:
            # The shutdown timeout has passed. A response that has started is cut off; its client can detect
            # that.
            if not status:
                answer = JSONResponse(Refused(503, "the server is shutting down").body(), 503)
                await answer(scope, receive, pass_on)
        except Exception as error:
            # An internal error: the client gets a 500, and the log gets one line.
            _log.error("%s: %s", type(error).__name__, error, exc_info=_log.isEnabledFor(logging.DEBUG))
        finally:
            self._in_progress -= 1
            path = scope["path"] if scope["path"] in self._paths else "other"
            status = scope.get("pluralign.status", status)
            self._service.metrics.requests[path, status] += 1
            refused = scope.get("pluralign.refused")
            if refused is not None and path != HEALTH and "pluralign.recorded" not in scope:
                self._service.refuse(scope, status, refused)

    def _check(self, scope: Scope) -> None:
        if scope["path"] == HEALTH:
            return
        if self._in_progress > self._service.limits.connections:
            raise Refused(
                503, "too many requests at once", code="too_many_requests", headers={"Retry-After": "5"}
            )
        headers, access = Headers(scope=scope), self._service.access
        if access.hosts is not None and _name(headers.get("host", "")) not in access.hosts:
            raise Refused(421, "this server does not accept this Host header", code="unknown_host")
        if access.token is None or scope["path"] in OPEN:
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        # Takes the same time for every wrong token, and accepts bytes that are not ASCII.
        same = hmac.compare_digest(token.strip().encode("latin-1", "replace"), access.token.encode())
        if kind.lower() != "bearer" or not same:
            raise Refused(
                401, "a bearer token is required (Authorization: Bearer ...)", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[").lower()
    return host.partition(":")[0].lower()
