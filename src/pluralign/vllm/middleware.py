"""Middleware of plain ``vllm serve``: steering weights at the top of a body, checked."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import is_list, is_object
from pluralign.steer.mixing import GEOMETRIC
from pluralign.vllm.settings import MEMBER, WEIGHTS, MixtureSettings
from pluralign.vllm.soups import PREFIX, soup_weights

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_WORDS = (WEIGHTS.encode(), MEMBER.encode(), PREFIX.encode())
_PATHS = ("/completions",)
_EXTRA = "vllm_xargs"
"""Key of vLLM's extra arguments in a body."""


class SteeringMiddleware:
    """ASGI middleware: ``"steering_weights": {...}`` in a body becomes the argument that the scheduler reads.

    Args:
        app: vLLM's application; its state has vLLM's configuration.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_json(scope):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        if any(word in body for word in _WORDS):
            try:
                changed = with_weights(body, scope["path"], *_configuration(scope))
            except InputError as error:
                await _refuse(send, error)
                return
            if changed is not body:
                headers = [(key, value) for key, value in scope["headers"] if key != b"content-length"]
                scope = {**scope, "headers": [*headers, (b"content-length", str(len(changed)).encode())]}
                body = changed
        await self._app(scope, _again(body, receive), send)


def with_weights(body: bytes, path: str, settings: MixtureSettings, models: Sequence[str]) -> bytes:
    """A body with its steering weights, checked, among vLLM's extra arguments.

    Args:
        body: JSON body of a request.
        path: Path of the request.
        settings: Policies that are mixed.
        models: Names of the model itself; other names are adapters.

    Raises:
        InputError: The weights are wrong, or the request asks for something that mixtures do not have.
    """
    try:
        data: Any = json.loads(body)
    except ValueError:
        return body
    if not is_object(data):
        return body
    found = data.get(_EXTRA)
    extra = found if is_object(found) else {}
    if MEMBER in extra:
        raise InputError("is for internal use", field=MEMBER)
    given = data.pop(WEIGHTS, None)
    if given is None:
        given = extra.get(WEIGHTS)
    model: Any = data.get("model")
    if isinstance(model, str) and model.startswith(PREFIX):
        soup = soup_weights(model)
        soup.require_known(list(settings.policies))
        if not any(settings.policies[name] for name, weight in soup.items() if weight > 0):
            raise InputError(f"no adapter has weight: ask for the model itself, {models[0]!r}", field="model")
        if given is not None:
            raise InputError("names a soup, which has its weights in its name", field="model")
    if given is None:
        return body
    if not path.endswith(_PATHS):
        raise InputError("is known at /v1/chat/completions and /v1/completions only", field=WEIGHTS)
    if model is not None and model not in models:
        raise InputError(f"mixtures are of the model {models[0]!r}, found {model!r:.80}", field="model")
    weights = settings.weights(given)
    _require_body(data, settings)
    data[_EXTRA] = {**extra, WEIGHTS: json.dumps(weights)}
    return json.dumps(data).encode()


def _require_body(data: dict[str, Any], settings: MixtureSettings) -> None:
    """Refuse by name what mixtures do not have."""
    echoed = data.get("echo") and data.get("logprobs") is not None
    for holds, name, why in (
        (data.get("use_beam_search"), "use_beam_search", "beam search does not work with mixtures"),
        (data.get("prompt_logprobs") is not None, "prompt_logprobs", "a mixture does not score its prompt"),
        (echoed, "echo", "a mixture does not score its prompt"),
        (data.get("prompt_embeds") is not None, "prompt_embeds", "the prompt of a mixture must be text"),
        (_has_media(data.get("messages")), "messages", "the messages of a mixture must be text"),
        (
            settings.power != GEOMETRIC and data.get("repetition_penalty") not in (None, 1),
            "repetition_penalty",
            "acts on logits, which only geometric mixtures have",
        ),
    ):
        if holds:
            raise InputError(why, field=name)


def _has_media(messages: Any) -> bool:
    """Whether messages contain parts that are not text."""
    for message in messages if is_list(messages) else []:
        content: Any = message.get("content") if is_object(message) else None
        for part in content if is_list(content) else []:
            if is_object(part) and part.get("type") not in ("text", "refusal", "thinking"):
                return True
    return False


def _configuration(scope: Scope) -> tuple[MixtureSettings, list[str]]:
    """The policies, and the names of the model."""
    args: Any = scope["app"].state.args
    return MixtureSettings.of(args.additional_config), list(args.served_model_name or [args.model])


def _is_json(scope: Scope) -> bool:
    kinds = [value for key, value in scope["headers"] if key == b"content-type"]
    return not kinds or b"json" in kinds[0].lower()


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None where the client has disconnected."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, and then what comes after it."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, error: InputError) -> None:
    """Answer with status 400, in OpenAI's format."""
    content = {
        "error": {
            "message": str(error), "type": "invalid_request_error", "param": error.field,
            "code": "invalid_value",
        }
    }  # fmt: skip
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
