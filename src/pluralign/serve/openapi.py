"""The server's OpenAPI document, built from the schemas that validate requests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pluralign.serve.fields import weights_schema
from pluralign.serve.rewards import SCHEMA as REWARDS
from pluralign.serve.service import Service
from pluralign.serve.suggestions import suggestion_schema

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_LOGPROBS = {"type": ["object", "null"]}
_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_INTERVAL = {"type": "array", "items": _SHARE, "minItems": 2, "maxItems": 2}
_STEERING = {
    "steering_intervals": {
        "type": "object",
        "description": "90 % intervals of the weights, if they are default weights inferred from choices.",
        "additionalProperties": _INTERVAL,
    },
    "steering_relevance": {
        "type": "object",
        "description": "Factors on the weights by what is at stake in the prompt, if the request asks.",
        "additionalProperties": _SHARE,
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_REASONS = {
    "400": "The request is invalid; the message gives the reason.",
    "401": "A bearer token is required.",
    "404": "Not found.",
    "405": "The method is not allowed.",
    "408": "The body arrived too slowly.",
    "413": "The body is too large.",
    "415": "The body must be JSON.",
    "421": "The server does not accept this Host header.",
    "429": "The queue is full; see the Retry-After header.",
    "500": "A reward could not be computed.",
    "502": "The server of a reward does not answer as expected.",
    "503": "The server is shutting down or decoding has failed.",
    "504": "The answer took too long.",
}


def document(service: Service) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the routes that this server has."""
    weights = {**weights_schema(service.deployment.objectives), "type": "object"}
    weights["required"] = list(service.deployment.objectives)
    chat = _answer("chat.completion", _chat_choice(), weights)
    text = _answer("text_completion", _text_choice(), weights)
    paths: dict[str, Any] = {
        "/v1/chat/completions": _post(
            "Create a chat completion.", service.parser.schemas["chat"], chat, stream=True
        ),
        "/v1/completions": _post(
            "Create completions of texts.", service.parser.schemas["completions"], text, stream=True
        ),
        "/v1/responses": _post(
            "Create a response.", service.parser.schemas["responses"], _response(weights), stream=True
        ),
        "/v1/models": _get("List the served model and its presets.", _list_of_models()),
        "/v1/models/{model}": _with_model(
            _get("Describe a model.", _model(), ("400", "401", "404")), tuple(service.parser.mixes.models)
        ),
        "/health": _get(
            "Check that the server works.", _object({"status": {"enum": ["ok"]}}), ("503",), False
        ),
        "/metrics": _get("Metrics in Prometheus' text format.", None, media="text/plain"),
        "/pluralign/config": _get("Configuration of the page.", {"type": "object"}),
        "/": _get("The page.", None, (), False, media="text/html"),
    }
    if service.rewards is not None:
        reward = _object({"reward": {"type": ["number", "null"]}, "sigma": {"type": ["number", "null"]}})
        found = _object({"rewards": {"type": "object", "additionalProperties": reward}})
        paths["/pluralign/rewards"] = _post(
            "Score an answer with every reward model.", REWARDS, found, errors=("500", "502")
        )
    if service.asker is not None:
        paths["/pluralign/ask"] = _post(
            "Choose the next question by all answers so far, and infer weights from them.",
            service.asker.schema,
            _interview(service.asker.objectives),
        )
    if service.provider is not None:
        names = service.deployment.objectives
        paths["/pluralign/suggest"] = _post(
            "Suggest weights for a wish, with predicted outcomes if there is a calibrated dial.",
            suggestion_schema(names),
            _object({"steering_weights": weights, "predicted": {"anyOf": [{"type": "null"}, _NUMBERS]}}),
        )
    if service.story is not None:
        paths["/pluralign/story"] = _get("Facts about the story.", {"type": "object"})
        paths["/pluralign/story/play"] = _post(
            "Replay actions and return the agent's probabilities at that point.",
            service.story.schema,
            _scene(service.story.names),
        )
    secured = service.access.token is not None or service.access.named
    schemes = {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pluralign", "version": version("pluralign")},
        "paths": paths,
        **({"components": schemes, "security": [{"bearer": []}]} if secured else {}),
    }


def _post(
    summary: str, body: Any, answer: Any, *, stream: bool = False, errors: Sequence[str] = ()
) -> dict[str, Any]:
    known = ("400", "401", "404", "405", "408", "413", "415", "421", "429", "503", "504")
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if stream:
        # Without a schema: tools differ in whether it would be that of the stream or of its events.
        content["text/event-stream"] = {}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"description": "The answer.", "content": content},
                **_errors(sorted({*known, *errors})),
            },
        }
    }


def _get(
    summary: str, answer: Any, errors: Sequence[str] = ("401",), secured: bool = True,
    media: str = "application/json",
) -> dict[str, Any]:  # fmt: skip
    return {
        "get": {
            "summary": summary,
            **({} if secured else {"security": []}),
            "responses": {
                "200": {"description": "The answer.", "content": {media: {"schema": answer or _TEXT}}},
                **_errors((*errors, "405", "421")),
            },
        }
    }


def _errors(statuses: Sequence[str]) -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


def _object(properties: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
    }


def _answer(kind: str, choice: Any, weights: Any) -> dict[str, Any]:
    counts: dict[str, Any] = {name: dict(_COUNT) for name in _USAGE}
    return _object(
        {
            "id": _TEXT,
            "object": {"enum": [kind]},
            "created": _COUNT,
            "model": _TEXT,
            "steering_weights": weights,
            "choices": {"type": "array", "items": choice, "minItems": 1},
            "usage": _object(counts),
        },
        _STEERING | _verdict("answers", ["boolean", "null"]),
    )


def _chat_choice() -> dict[str, Any]:
    message = _object({"role": {"enum": ["assistant"]}, "content": {"type": ["string", "null"]}})
    reasons = {"enum": ["stop", "length", "tool_calls"]}
    return _object({"index": _COUNT, "message": message, "logprobs": _LOGPROBS, "finish_reason": reasons})


def _text_choice() -> dict[str, Any]:
    reasons = {"enum": ["stop", "length"]}
    return _object({"index": _COUNT, "text": _TEXT, "logprobs": _LOGPROBS, "finish_reason": reasons})


def _response(weights: Any) -> dict[str, Any]:
    return _object(
        {
            "id": _TEXT,
            "object": {"enum": ["response"]},
            "created_at": _COUNT,
            "status": {"enum": ["completed", "incomplete"]},
            "model": _TEXT,
            "steering_weights": weights,
            "output": {"type": "array", "items": _object({"type": _TEXT, "id": _TEXT}), "minItems": 1},
        },
        _STEERING,
    )


def _model() -> dict[str, Any]:
    return _object({"id": _TEXT, "object": {"enum": ["model"]}, "created": _COUNT, "owned_by": _TEXT})


def _list_of_models() -> dict[str, Any]:
    return _object({"object": {"enum": ["list"]}, "data": {"type": "array", "items": _model()}})


def _with_model(path: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    place = {"name": "model", "in": "path", "required": True, "schema": {"enum": list(models)}}
    return {**path, "parameters": [place]}


def _verdict(noun: str, kinds: Sequence[str]) -> dict[str, Any]:
    """Fields that say whether inferred weights decide."""
    null = "; null if that could not be computed" if "null" in kinds else ""
    return {
        "decided": {
            "type": list(kinds),
            "description": f"Whether all credible weights leave one of the {noun}{null}.",
        },
        "undominated": {
            "type": "array",
            "description": f"Indices of the {noun} that no other is better than under all credible weights.",
            "items": _COUNT,
        },
    }


def _scene(names: Sequence[str]) -> dict[str, Any]:
    shares = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1.000001}}
    return _object(
        {
            "steering_weights": _NUMBERS,
            "taken": {"type": "array", "items": _object({"text": _TEXT, "option": _TEXT})},
            "returns": _NUMBERS,
            "text": _TEXT,
            "ended": {"type": "boolean"},
            "options": {"type": "array", "items": _TEXT},
            "mixed": shares,
            "probabilities": {"type": "object", "properties": dict.fromkeys(names, shares)},
        },
        {"steering_intervals": _STEERING["steering_intervals"], **_verdict("options", ["boolean"])},
    )


def _interview(names: Sequence[str]) -> dict[str, Any]:
    weights, intervals = ({"type": "object", "properties": dict.fromkeys(names, one), "required": list(names)}
                          for one in (_SHARE, _INTERVAL))  # fmt: skip
    options = {"type": "array", "items": _TEXT, "minItems": 2}
    question = {"key": _TEXT, "prompt": _TEXT, "options": options, "may_tie": {"type": "boolean"}}
    return _object(
        {
            "question": {"anyOf": [{"type": "null"}, _object(question)]},
            "end": {"enum": [None, "number", "information", "pool"]},
            "weights": weights,
            "intervals": intervals,
            "information": {"type": ["number", "null"], "minimum": 0},
            "regret": {"type": "number", "minimum": 0},
            "answers": _COUNT,
        }
    )
