"""The ASGI application: routes and error responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pluralign.core import SteeringWeights
from pluralign.serve.bodies import ClientDisconnected, read_body
from pluralign.serve.completions import CLIENT_DISCONNECTED, complete
from pluralign.serve.errors import Refused
from pluralign.serve.health import health
from pluralign.serve.middleware import RequestMiddleware
from pluralign.serve.openapi import document
from pluralign.serve.page import page_response
from pluralign.serve.service import Service
from pluralign.serve.suggestions import describe_provider, suggest
from pluralign.steer.request_weights import in_order

Handler = Callable[[Service, Request], Awaitable[Response]]


def make_app(service: Service) -> ASGIApp:
    """Make the ASGI application of a service; its lifespan starts and stops the engine."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        service.engine.start()
        yield
        await asyncio.to_thread(service.engine.stop)
        if service.audit is not None:
            service.audit.close()

    routes = [
        Route(path, partial(_call, service, handler), methods=[method]) for method, path, handler in ROUTES
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            Refused: _refusal,
            HTTPException: _http_error,
            ClientDisconnected: _disconnected,
            Exception: _internal_error,
        },
    )
    checked = RequestMiddleware(app, service, tuple(path for _, path, _ in ROUTES))
    if not service.access.origins:
        return checked
    # Outermost, because browsers ask for permission without a token.
    return CORSMiddleware(
        checked,
        service.access.origins,
        ("GET", "POST"),
        ("*",),
        expose_headers=("x-request-id", "retry-after"),
    )


async def _call(service: Service, handler: Handler, request: Request) -> Response:
    return await handler(service, request)


async def _chat(service: Service, request: Request) -> Response:
    return await complete(service, request, "chat")


async def _completions(service: Service, request: Request) -> Response:
    return await complete(service, request, "completions")


async def _responses(service: Service, request: Request) -> Response:
    return await complete(service, request, "responses")


async def _models(service: Service, request: Request) -> Response:
    listed = [_model(service, name, weights) for name, weights in service.parser.mixes.models.items()]
    return JSONResponse({"object": "list", "data": listed})


async def _one_model(service: Service, request: Request) -> Response:
    name, mixes = request.path_params["model"], service.parser.mixes
    weights = mixes.of_model(name)
    return JSONResponse(_model(service, name, mixes.default if weights is None else weights))


def _model(service: Service, name: str, weights: SteeringWeights) -> dict[str, Any]:
    known, intervals = service.deployment, service.intervals_of(weights)
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "pluralign",
        "objectives": list(known.objectives),
        "steering_weights": in_order(weights, known.objectives),
        **({} if intervals is None else {"steering_intervals": dict(intervals)}),
        "max_model_len": known.context,
        "dtype": known.dtype_name,
        "batch_invariant": known.dtype_name == "float32",
    }


async def _health(service: Service, request: Request) -> Response:
    return health(service)


async def _metrics(service: Service, request: Request) -> Response:
    gauges = {
        "running": ("Answers being generated.", service.engine.running),
        "waiting": ("Answers in the queue.", service.engine.waiting),
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
            "steering_weights": in_order(service.parser.mixes.default, known.objectives),
            "steering_intervals": service.intervals,
            "suggest": describe_provider(service.provider),
            "ask": None if service.asker is None else service.asker.describe(),
            "relevance": None if service.relevance is None else service.relevance.describe(),
            "presets": {
                name: in_order(weights, known.objectives) for name, weights in service.presets.items()
            },
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


async def _ask(service: Service, request: Request) -> Response:
    if service.asker is None:
        raise Refused(404, "this server has no questions")
    body = await read_body(request, service.limits)
    answer = await service.asker.answer(body)
    counts = {"answers": len(body["answers"]), "skipped": len(body.get("skipped", ()))}
    service.note(request.scope, {"event": "ask", **counts}, {"given": body})
    return JSONResponse(answer)


async def _suggest(service: Service, request: Request) -> Response:
    if service.provider is None:
        raise Refused(404, "this server suggests no weights")
    body = await read_body(request, service.limits)
    names = service.deployment.objectives
    return JSONResponse(await asyncio.to_thread(suggest, service.parser.mixes, body, names))


async def _story(service: Service, request: Request) -> Response:
    if service.story is None:
        raise Refused(404, "this server has no story")
    return JSONResponse(service.story.describe())


async def _play(service: Service, request: Request) -> Response:
    if service.story is None:
        raise Refused(404, "this server has no story")
    return JSONResponse(await service.story.answer(await read_body(request, service.limits)))


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", _page),
    ("GET", "/health", _health),
    ("GET", "/metrics", _metrics),
    ("GET", "/openapi.json", _openapi),
    ("GET", "/v1/models", _models),
    ("GET", "/v1/models/{model:path}", _one_model),
    ("POST", "/v1/chat/completions", _chat),
    ("POST", "/v1/completions", _completions),
    ("POST", "/v1/responses", _responses),
    ("GET", "/pluralign/config", _config),
    ("POST", "/pluralign/rewards", _rewards),
    ("POST", "/pluralign/ask", _ask),
    ("POST", "/pluralign/suggest", _suggest),
    ("GET", "/pluralign/story", _story),
    ("POST", "/pluralign/story/play", _play),
)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.scope["pluralign.refused"] = error
    return JSONResponse(error.body(), error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"unknown path {request.url.path[:80]}",
        405: f"{request.method[:20]} is not allowed here",
    }
    refused = Refused(
        error.status_code, words.get(error.status_code, error.detail), headers=error.headers,
        code="unknown_path" if error.status_code == 404 else None,
    )  # fmt: skip
    request.scope["pluralign.refused"] = refused
    return JSONResponse(refused.body(), refused.status, refused.headers)


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_DISCONNECTED)


async def _internal_error(request: Request, error: Exception) -> Response:
    # The middleware logs the error; the client gets no details.
    return JSONResponse(Refused(500, "internal server error").body(), 500)
