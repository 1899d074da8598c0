"""The server: what it holds, and its routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pluralign.core import SteeringWeights
from pluralign.serve.api import RequestReader
from pluralign.serve.audit import Audit
from pluralign.serve.bodies import ClientGone, read_body
from pluralign.serve.completions import GONE, Record, complete
from pluralign.serve.door import Door
from pluralign.serve.engine import Engine
from pluralign.serve.errors import Refused
from pluralign.serve.metrics import Metrics
from pluralign.serve.openapi import document
from pluralign.serve.page import page_response
from pluralign.serve.rewards import Rewards
from pluralign.serve.settings import Access, Limits
from pluralign.serve.story import StoryTable
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.deployment import Deployment, in_order

_log = logging.getLogger(__name__)
Endpoint = Callable[["Service", Request], Awaitable[Response]]


@dataclass
class Service:
    """All that a server works with.

    Args:
        deployment: what is served.
        limits: how much a request may take.
        access: who is let in.
        weights: of requests that do not say; uniform by default.
        audit: where a line for each request for text goes.
        rewards: of answers, for the page.
        story: for the page.
        fronts: what sweeps measured, for the page, by the tab that shows it: "chat", "story".
    """

    deployment: Deployment
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    weights: SteeringWeights | None = None
    audit: Audit | None = None
    rewards: Rewards | None = None
    story: StoryTable | None = None
    fronts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.reader = RequestReader(self.deployment, self.limits, self.weights)
        decoder = MixtureDecoder(self.deployment.rows, self.deployment.power)
        self.engine = Engine(decoder, self.limits.running, self.limits.queue)
        self.metrics = Metrics()

    def finish(self, record: Record) -> None:
        """Count a request for text and write its line."""
        row = record.row()
        self.metrics.tokens["prompt"] += row["prompt_tokens"]
        self.metrics.tokens["completion"] += row["completion_tokens"]
        if record.status == 200:
            self.metrics.latency.observe(row["milliseconds"] / 1000)
        if record.first_token is not None:
            self.metrics.first_token.observe(record.first_token)
        if self.audit is None:
            return
        prompt, texts = (
            (None, []) if record.answer is None else (record.answer.asked.prompt, record.answer.texts)
        )
        try:
            self.audit.write(row, prompt, texts)
        except OSError as error:
            self.metrics.audit_failures += 1
            _log.error("the audit file took no line: %s", error.strerror or error)


def make_app(service: Service) -> ASGIApp:
    """The server as an ASGI application; its lifespan starts and stops the engine."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.engine.start()
        yield
        await asyncio.to_thread(service.engine.stop)
        if service.audit is not None:
            service.audit.close()

    routes = [
        Route(path, partial(_call, service, endpoint), methods=[method])
        for method, path, endpoint in ENDPOINTS
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            Refused: _refuse,
            HTTPException: _refuse_plainly,
            ClientGone: _gone,
            Exception: _mistake,
        },
    )
    return Door(app, service, tuple(path for _, path, _ in ENDPOINTS))


async def _call(service: Service, endpoint: Endpoint, request: Request) -> Response:
    return await endpoint(service, request)


async def _chat(service: Service, request: Request) -> Response:
    return await complete(service, request, "chat")


async def _completions(service: Service, request: Request) -> Response:
    return await complete(service, request, "completions")


async def _models(service: Service, request: Request) -> Response:
    known = service.deployment
    model = {
        "id": known.name,
        "object": "model",
        "created": 0,
        "owned_by": "pluralign",
        "objectives": list(known.objectives),
        "steering_weights": in_order(service.reader.weights, known.objectives),
    }
    return JSONResponse({"object": "list", "data": [model]})


async def _health(service: Service, request: Request) -> Response:
    if service.engine.failure is not None:
        raise Refused(503, service.engine.failure)
    return JSONResponse({"status": "ok"})


async def _metrics(service: Service, request: Request) -> Response:
    gauges = {
        "running": ("Answers that are being written.", service.engine.running),
        "waiting": ("Answers that wait for a place.", service.engine.waiting),
    }
    return PlainTextResponse(
        service.metrics.render(gauges), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def _openapi(service: Service, request: Request) -> Response:
    return JSONResponse(document(service))


async def _page(service: Service, request: Request) -> Response:
    return page_response()


async def _config(service: Service, request: Request) -> Response:
    known = service.deployment
    return JSONResponse(
        {
            "model": known.name,
            "objectives": list(known.objectives),
            "steering_weights": in_order(service.reader.weights, known.objectives),
            "power": str(known.power),
            "new_tokens": service.limits.new_tokens,
            "rewards": [] if service.rewards is None else list(service.rewards.names),
            "story": None if service.story is None else service.story.describe(),
            "fronts": dict(service.fronts),
        }
    )


async def _rewards(service: Service, request: Request) -> Response:
    if service.rewards is None:
        raise Refused(404, "this server has no reward models")
    return JSONResponse(await service.rewards.answer(await read_body(request, service.limits)))


async def _story(service: Service, request: Request) -> Response:
    if service.story is None:
        raise Refused(404, "this server has no story")
    return JSONResponse(service.story.describe())


async def _play(service: Service, request: Request) -> Response:
    if service.story is None:
        raise Refused(404, "this server has no story")
    return JSONResponse(await service.story.answer(await read_body(request, service.limits)))


ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/", _page),
    ("GET", "/health", _health),
    ("GET", "/metrics", _metrics),
    ("GET", "/openapi.json", _openapi),
    ("GET", "/v1/models", _models),
    ("POST", "/v1/chat/completions", _chat),
    ("POST", "/v1/completions", _completions),
    ("GET", "/pluralign/config", _config),
    ("POST", "/pluralign/rewards", _rewards),
    ("GET", "/pluralign/story", _story),
    ("POST", "/pluralign/story/play", _play),
)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.body(), error.status, error.headers)


async def _refuse_plainly(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"there is nothing at {request.url.path[:80]}",
        405: f"{request.method[:20]} is not allowed here",
    }
    refused = Refused(error.status_code, words.get(error.status_code, error.detail), headers=error.headers)
    return JSONResponse(refused.body(), refused.status, refused.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)


async def _mistake(request: Request, error: Exception) -> Response:
    # The door logs it; the client need not know more.
    return JSONResponse(Refused(500, "the server made a mistake").body(), 500)
