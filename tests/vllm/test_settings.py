"""Steering weights at the doors of vLLM."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from pluralign.core import InputError
from pluralign.vllm.middleware import SteeringMiddleware, with_weights
from pluralign.vllm.settings import MixtureSettings

SETTINGS = MixtureSettings({"kind": "/kind", "calm": "/calm", "base": None}, together=2)
HARMONIC = MixtureSettings({"kind": "/kind", "calm": "/calm"}, power=-1.0)
CHAT = "/v1/chat/completions"


def changed(settings=SETTINGS, path=CHAT, **body):
    return json.loads(with_weights(json.dumps(body).encode(), path, settings, ["m"]))


def test_settings_survive_vllms_configuration():
    assert MixtureSettings.of(json.loads(json.dumps(SETTINGS.to_config()))) == SETTINGS


@pytest.mark.parametrize(
    ("policies", "options", "message"),
    [
        ({}, {}, "at least one policy"),
        ({"a": "/a"}, {"power": float("nan")}, "must be finite"),
        ({"a": "/a"}, {"together": 2}, "must be from 0 to the 1 policies"),
    ],
)
def test_settings_that_make_no_sense_are_refused(policies, options, message):
    with pytest.raises(InputError, match=message):
        MixtureSettings(policies, **options)
    with pytest.raises(InputError, match="no policies"):
        MixtureSettings.of({})


def test_weights_become_an_extra_argument_in_the_policies_order():
    body = changed(model="m", steering_weights={"calm": 0.25, "base": 0.0, "kind": 0.75}, n=2)
    assert body == {"model": "m", "n": 2, "vllm_xargs": {"steering_weights": '{"kind": 0.75, "calm": 0.25}'}}


@pytest.mark.parametrize("given", ["kind=0.5,calm=0.5", '{"kind": 0.5, "calm": 0.5}'])
def test_weights_may_be_given_as_vllms_extra_argument(given):
    body = changed(vllm_xargs={"steering_weights": given, "other": 1})
    assert body["vllm_xargs"] == {"steering_weights": '{"kind": 0.5, "calm": 0.5}', "other": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"steering_weights": {"kind": 0.5}}, "sum to 1"),
        ({"steering_weights": {"kind": 1.5, "calm": -0.5}}, "not negative"),
        ({"steering_weights": {"cruel": 1.0}}, "unknown objective 'cruel'; known: base, calm, kind"),
        ({"steering_weights": 3}, "expected an object"),
        ({"steering_weights": "{"}, "expected an object"),
        ({"steering_weights": {"kind": 0.4, "calm": 0.3, "base": 0.3}}, "mixes at most 2"),
        ({"steering_weights": {"kind": 1.0}, "model": "kind"}, "mixtures are of the model 'm'"),
        ({"steering_weights": {"kind": 1.0}, "use_beam_search": True}, "beam search"),
        ({"steering_weights": {"kind": 1.0}, "prompt_logprobs": 0}, "score its prompt"),
        ({"steering_weights": {"kind": 1.0}, "echo": True, "logprobs": 1}, "score its prompt"),
        ({"steering_weights": {"kind": 1.0}, "prompt_embeds": "x"}, "must be text"),
        (
            {"steering_weights": {"kind": 1.0}, "messages": [{"content": [{"type": "image_url"}]}]},
            "must be text",
        ),
        ({"vllm_xargs": {"pluralign_member": []}}, "internal"),
        ({"model": "mix:kind=0.5,cruel=0.5"}, "unknown objective 'cruel'"),
        ({"model": "mix:kind=0.5"}, "sum to 1"),
        ({"model": "mix:base=1,kind=0"}, "no adapter has weight: ask for the model itself, 'm'"),
        ({"model": "mix:kind=1", "steering_weights": {"kind": 1.0}}, "weights in its name"),
    ],
)
def test_what_is_wrong_is_named(body, message):
    with pytest.raises(InputError, match=message):
        changed(**body)


def test_repetition_penalties_need_logits():
    assert changed(steering_weights={"kind": 1.0}, repetition_penalty=1.1)
    with pytest.raises(InputError, match="repetition_penalty"):
        changed(HARMONIC, steering_weights={"kind": 1.0}, repetition_penalty=1.1)


def test_weights_elsewhere_are_not_ignored():
    with pytest.raises(InputError, match="known at /v1/chat/completions and /v1/completions only"):
        changed(path="/v1/responses", steering_weights={"kind": 1.0})


def call(body, path=CHAT):
    """The status and body that the middleware answers with, or the body that it passes on."""
    found = {}

    async def app(scope, receive, send):
        message = await receive()
        length = dict(scope["headers"])[b"content-length"]
        assert int(length) == len(message["body"])
        found["passed"] = json.loads(message["body"])

    async def receive():
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message):
        found.update({key: message[key] for key in ("status", "body") if key in message})

    raw = json.dumps(body).encode()
    args = SimpleNamespace(additional_config=SETTINGS.to_config(), served_model_name=None, model="m")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    scope = {
        "type": "http", "method": "POST", "path": path, "headers": headers,
        "app": SimpleNamespace(state=SimpleNamespace(args=args)),
    }  # fmt: skip
    asyncio.run(SteeringMiddleware(app)(scope, receive, send))
    return found


def test_the_middleware_passes_on_or_refuses():
    assert call({"model": "m"}) == {"passed": {"model": "m"}}
    weights = call({"steering_weights": {"kind": 1.0}})["passed"]["vllm_xargs"]["steering_weights"]
    assert weights == '{"kind": 1.0}'
    refused = call({"steering_weights": {"cruel": 1.0}})
    assert refused["status"] == 400
    error = json.loads(refused["body"])["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "field 'weights': unknown objective 'cruel'; known: base, calm, kind"
