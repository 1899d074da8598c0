"""ASGI middleware: host and token checks, response headers, request counts."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pluralign.serve.errors import Refused
from pluralign.serve.service import Service
from pluralign.serve.settings import NamedToken

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
        self._by_token: Counter[str] = Counter()

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
            token = self._check(scope)
            await self._limited(token, scope, receive, pass_on)
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

    async def _limited(self, token: NamedToken | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, within the limit of its token."""
        if token is None or token.running is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self._by_token[token.name] >= token.running:
            raise Refused(
                429, f"the token {token.name!r} has {token.running} requests in progress already",
                code="token_busy", headers={"Retry-After": str(self._service.pace.answer_in())},
            )  # fmt: skip
        self._by_token[token.name] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._by_token[token.name] -= 1

    def _check(self, scope: Scope) -> NamedToken | None:
        """Raise `Refused` for a request that may not pass; the named token of one that may."""
        if scope["path"] == HEALTH:
            return None
        if self._in_progress > self._service.limits.connections:
            raise Refused(
                503, "too many requests at once", code="too_many_requests", headers={"Retry-After": "5"}
            )
        headers, access = Headers(scope=scope), self._service.access
        if access.hosts is not None and _name(headers.get("host", "")) not in access.hosts:
            raise Refused(421, "this server does not accept this Host header", code="unknown_host")
        if (access.token is None and not access.named) or scope["path"] in OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        # Takes the same time for every wrong token, and accepts bytes that are not ASCII.
        data = given.strip().encode("latin-1", "replace")
        same = access.token is not None and hmac.compare_digest(data, access.token.encode())
        named = [one for one in access.named if hmac.compare_digest(data, one.token.encode())]
        if kind.lower() != "bearer" or not (same or named):
            raise Refused(
                401, "a bearer token is required (Authorization: Bearer ...)", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if not named:
            return None
        scope["pluralign.token"] = named[0].name
        return named[0]


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[").lower()
    return host.partition(":")[0].lower()
