"""vLLM under the project's own server: a stand-in of `AsyncLLM` gives tokens, the server does the rest."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import requests
import uvicorn

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.serve.app import make_app
from pluralign.serve.service import Service
from pluralign.serve.settings import Limits
from pluralign.serve.submission import DecodingFailed, QueueFull
from pluralign.steer.requests import Request, TokenLogProb
from pluralign.steer.token_rules import TokenRules
from pluralign.vllm.engine import VllmEngine
from pluralign.vllm.policies import VllmPolicies

TOKENIZER = make_tiny_tokenizer()
STOP = TOKENIZER.eos_token_id


class StandIn:
    """`AsyncLLM` as far as the engine uses it: a text for every request, token by token."""

    def __init__(self, text, finish=None, error=None):
        self.tokens = TOKENIZER(text, add_special_tokens=False).input_ids
        self.finish, self.error, self.errored = finish, error, False
        self.calls, self.closed, self.gate = [], 0, asyncio.Event()
        self.gate.set()

    async def generate(self, prompt, params, request_id):
        self.calls.append((prompt, params, request_id))
        try:
            for token in self.tokens:
                await self.gate.wait()
                known = None
                if params.logprobs is not None:
                    known = [
                        {
                            token: SimpleNamespace(logprob=-2.5, rank=9),
                            STOP: SimpleNamespace(logprob=-1.0, rank=1),
                        }
                    ]
                yield SimpleNamespace(
                    outputs=[SimpleNamespace(token_ids=[token], finish_reason=None, logprobs=known)]
                )
            if self.error is not None:
                self.errored = True
                raise self.error
            yield SimpleNamespace(
                outputs=[SimpleNamespace(token_ids=[], finish_reason=self.finish, logprobs=None)]
            )
        finally:
            self.closed += 1

    def shutdown(self, timeout):
        self.calls.append("shutdown")


class ClientError(Exception):
    """As `vllm.exceptions.VLLMClientError`."""


class ValidationError(ClientError):
    """As `vllm.exceptions.VLLMValidationError`."""

    def __init__(self, message, parameter=None):
        super().__init__(message)
        self.parameter = parameter

    def __str__(self):
        return f"{self.args[0]} (parameter={self.parameter})"


@pytest.fixture(autouse=True)
def _vllm(monkeypatch):
    """The two names of vLLM that the engine uses."""
    module, inner = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    module.SamplingParams = SimpleNamespace
    inner.RequestOutputKind = SimpleNamespace(DELTA="delta")
    inner.StructuredOutputsParams = SimpleNamespace
    errors = ModuleType("vllm.exceptions")
    errors.VLLMClientError, errors.VLLMValidationError = ClientError, ValidationError
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.exceptions", errors)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", inner)


def request(new=50, stop=(), ids=(1, 2, 3)):
    decoding = Decoding(new, 0.5, 0.9, 40, stop)
    return Request(list(ids), SteeringWeights(a=0.75, b=0.25), decoding, 2**64 - 1)


def engine(llm, running=2, queue=1):
    return VllmEngine(llm, TOKENIZER, [STOP], running, queue)


def answer(llm, asked):
    async def run():
        own = engine(llm)
        text, last = "", None
        async for _, event in own.submit([asked]).events(30):
            text, last = text + event.text, event
        await asyncio.sleep(0)
        return text, last, own

    return asyncio.run(run())


async def becomes(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def test_a_request_reaches_vllm_with_its_weights_and_seed():
    llm = StandIn("Hello" + TOKENIZER.eos_token)
    text, last, own = answer(llm, request())
    assert (text, last.tokens, last.finish_reason) == ("Hello", 6, "stop")
    ((prompt, params, _),) = llm.calls
    assert prompt == {"prompt_token_ids": [1, 2, 3]}
    assert params.extra_args == {"steering_weights": '{"a": 0.75, "b": 0.25}'}
    assert (params.seed, params.temperature, params.top_p, params.top_k) == (2**64 - 1, 0.5, 0.9, 40)
    assert (params.max_tokens, params.stop_token_ids, params.detokenize) == (50, [STOP], False)
    assert (own.running, own.waiting) == (0, 0)


def test_rules_and_log_probs_reach_vllm_and_come_back():
    llm = StandIn("Hi" + TOKENIZER.eos_token)
    rules = TokenRules(1.0, 0.5, ((7, -3.0),), '{"type": "object"}')
    asked = replace(request(), rules=rules, alternatives=1)

    async def run():
        return [event async for _, event in engine(llm).submit([asked]).events(30)]

    events = asyncio.run(run())
    ((_, params, _),) = llm.calls
    assert (params.presence_penalty, params.frequency_penalty, params.logit_bias) == (1.0, 0.5, {7: -3.0})
    assert (params.structured_outputs.json, params.logprobs, params.min_p) == (rules.schema, 1, 0.0)
    first = TOKENIZER("H", add_special_tokens=False).input_ids[0]
    assert events[0].log_prob == TokenLogProb(first, -2.5, ((STOP, -1.0),))


def test_prompts_log_probs_are_refused():
    with pytest.raises(InputError, match="prompts of mixtures"):
        answer(StandIn("Hi"), replace(request(), alternatives=1, prompt_log_probs=True))


def test_a_silent_request_needs_no_vllm():
    llm = StandIn("Hi")
    text, last, own = answer(llm, replace(request(ids=(1,)), silent=True))
    assert (text, last.tokens, last.finish_reason, llm.calls) == ("", 0, "length", [])
    assert (own.running, own.waiting) == (0, 0)


def test_texts_end_at_stop_texts_and_at_the_limit():
    llm = StandIn("one two three")
    text, last, _ = answer(llm, request(stop=(" tw",)))
    assert (text, last.finish_reason) == ("one", "stop")
    assert llm.closed == 1
    text, last, _ = answer(StandIn("one two three"), request(new=5))
    assert (text, last.finish_reason) == ("one t", "length")


def test_an_end_that_nobody_asked_for_is_an_error():
    with pytest.raises(DecodingFailed, match="vLLM ended the request"):
        answer(StandIn("one", finish="abort"), request())


@pytest.mark.parametrize("field", ["logit_bias", None])
def test_what_vllm_refuses_is_a_mistake_of_the_request(field):
    async def run():
        llm = StandIn("")
        llm.error = ValidationError("token_id(s) [999999] in logit_bias\nVocabulary size: 100", field)
        own = engine(llm)
        with pytest.raises(InputError, match=r"in logit_bias Vocabulary size: 100$") as found:
            async for _ in own.submit([request()]).events(30):
                pass
        assert found.value.field == field

    asyncio.run(run())


def test_a_prompt_of_one_token_is_refused_by_name():
    from pluralign.core import InputError

    with pytest.raises(InputError, match="at least 2 tokens"):
        answer(StandIn("one"), request(ids=(1,)))


def test_a_dead_engine_is_reported():
    async def run():
        own = engine(StandIn("one", error=RuntimeError("gone")))
        with pytest.raises(DecodingFailed, match="vLLM has stopped"):
            async for _ in own.submit([request()]).events(30):
                pass
        assert own.failure is not None
        with pytest.raises(DecodingFailed, match="vLLM has stopped"):
            own.submit([request()])

    asyncio.run(run())


def test_the_queue_has_a_limit_and_cancelling_frees_it():
    async def run():
        llm = StandIn("x" * 20)
        llm.gate.clear()
        own = engine(llm)
        first = own.submit([request(), request(), request()])
        await becomes(lambda: (own.running, own.waiting) == (2, 1))
        with pytest.raises(QueueFull):
            own.submit([request()])
        own.cancel(first)
        await becomes(lambda: (own.running, own.waiting, llm.closed) == (0, 0, 2))
        own.stop()
        assert llm.calls[-1] == "shutdown"
        with pytest.raises(DecodingFailed, match="shutting down"):
            own.submit([request()])

    asyncio.run(run())


def test_a_request_that_is_cancelled_before_it_begins_leaves_its_place():
    async def run():
        own = engine(StandIn("x" * 20))
        for _ in range(4):
            refused = own.submit([request()])
            own.cancel(refused)
            await becomes(lambda: own.waiting == 0)
            assert refused.jobs[0].ended
        assert own.running == 0

    asyncio.run(run())


@contextmanager
def serving(service):
    """The address of a server."""
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(make_app(service), http="h11", lifespan="on", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def test_the_server_is_the_same():
    """API, limits and metrics of `pluralign serve` over vLLM."""
    policies = VllmPolicies("m", ("a", "b"), "chat", 0.0, False, TOKENIZER, 256)

    def make(limits):
        return VllmEngine(StandIn("Hello there"), TOKENIZER, [STOP], limits.running, limits.queue)

    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    with (
        serving(Service(policies, Limits(), make_engine=make)) as address,
        requests.Session() as session,
    ):
        session.trust_env = False

        def post(**more):
            return session.post(f"{address}/v1/chat/completions", json={**body, **more}, timeout=30)

        answer = post(steering_weights={"a": 1.0}).json()
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["steering_weights"] == {"a": 1.0, "b": 0.0}
        assert answer["usage"]["completion_tokens"] == 5
        assert post(stream=True).text.endswith("data: [DONE]\n\n")
        assert post(steering_weights={"c": 1.0}).status_code == 400
        # A stream is counted when it has ended, which its client sees first.
        end = time.monotonic() + 30
        while 'kind="completion"} 10' not in (text := session.get(f"{address}/metrics", timeout=30).text):
            assert time.monotonic() < end, text
        assert session.get(f"{address}/health", timeout=30).status_code == 200
