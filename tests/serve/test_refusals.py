"""Requests that cannot be used: a 4xx with one clear message in OpenAI's form, and the server lives on."""

import json
import socket

import pytest
from openai import BadRequestError, NotFoundError

from pluralign.core.errors import ServerError
from pluralign.rewards.function import FunctionReward
from pluralign.rewards.reward import Reward
from pluralign.serve.rewards import AnswerScorers
from pluralign.serve.settings import Limits

WRONG = {
    "no messages": ({"messages": None}, "'messages' must be an array of 1 or more"),
    "an empty chat": ({"messages": []}, "'messages' must be an array of 1 or more"),
    "a message that is a text": ({"messages": ["hello"]}, r"'messages\[0\]' must be an object"),
    "a message without content": ({"messages": [{"role": "user"}]}, r"'messages\[0\].content' is missing"),
    "an unknown role": ({"messages": [{"role": "me", "content": "x"}]}, r"role' must be one of \"system\""),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        r"'messages\[0\].content\[0\].type' must be one of \"text\", found \"image_url\"",
    ),
    "a field of a message": (
        {"messages": [{"role": "user", "content": "x", "mood": "good"}]}, "unknown field 'mood'",
    ),
    "temperature as text": ({"temperature": "warm"}, "must be a number from 0 to 2, found \"warm\""),
    "temperature as bool": ({"temperature": True}, "'temperature' must be a number"),
    "temperature too high": ({"temperature": 2.1}, "from 0 to 2, found 2.1"),
    "temperature below 0": ({"temperature": -0.1}, "from 0 to 2"),
    "top_p of 0": ({"top_p": 0}, "'top_p' must be a number above 0, at most 1"),
    "top_k below -1": ({"top_k": -2}, "'top_k' must be an integer from -1"),
    "tokens of 0": ({"max_tokens": 0}, "'max_tokens' must be an integer from 1 to 512"),
    "half a token": ({"max_tokens": 1.5}, "'max_tokens' must be an integer"),
    "too many tokens": ({"max_tokens": 513}, "from 1 to 512, found 513"),
    "two limits": ({"max_tokens": 3, "max_completion_tokens": 4}, "and 'max_completion_tokens' differ"),
    "no sample": ({"n": 0}, "'n' must be an integer from 1 to 64"),
    "too many samples": ({"n": 65}, "from 1 to 64"),
    "a seed too large": ({"seed": 2**63}, "'seed' must be an integer"),
    "an empty stop text": ({"stop": ""}, "'stop' must be a non-empty string"),
    "five stop texts": ({"stop": list("abcde")}, "'stop' must be"),
    "a stop of numbers": ({"stop": [1]}, r"'stop\[0\]' must be a non-empty string"),
    "options without a stream": ({"stream_options": {"include_usage": True}}, "requires 'stream' to be true"),
    "stream as text": ({"stream": "yes"}, "'stream' must be true or false"),
    "a tool without a name": ({"tools": [{"type": "function", "function": {}}]}, "function.name' is missing"),
    "a tool that must be called": ({"tool_choice": "required"}, "'tool_choice' must be one of"),
    "logprobs as a number": ({"logprobs": 1}, "'logprobs' must be true or false"),
    "too many alternatives": ({"logprobs": True, "top_logprobs": 21}, "from 0 to 20, found 21"),
    "alternatives alone": ({"top_logprobs": 2}, "requires 'logprobs' to be true"),
    "a penalty": ({"frequency_penalty": 2.5}, "from -2 to 2, found 2.5"),
    "min_p above 1": ({"min_p": 1.5}, "'min_p' must be a number from 0 to 1"),
    "a bias of a word": ({"logit_bias": {"five": 10}}, "'logit_bias' has tokens by their ids, found 'five'"),
    "a bias too large": ({"logit_bias": {"5": 101}}, "'logit_bias.5' must be a number from -100 to 100"),
    "a bias of no token": ({"logit_bias": {"999999999": 1}}, "token ids must be below"),
    "an old parameter": ({"functions": [{"name": "f"}]}, "'functions' is not supported"),
    "something else": ({"warmth": 3}, "unknown parameter 'warmth'"),
    "an unknown objective": (
        {"steering_weights": {"kind": 1.0}}, "unknown objective 'kind'; known: one, two, three",
    ),
    "a negative weight": ({"steering_weights": {"one": 1.5, "two": -0.5}}, "'steering_weights.two' must be"),
    "weights below one": ({"steering_weights": {"one": 0.5, "two": 0.2}}, "must sum to 1, found 0.7"),
    "weights above one": ({"steering_weights": {"one": 0.5, "two": 0.7}}, "must sum to 1, found 1.2"),
    "no weights": ({"steering_weights": {}}, "'steering_weights' must be an object of numbers by objective"),
    "a weight as text": ({"steering_weights": {"one": "1"}}, "'steering_weights.one' must be a number"),
    "a weight as bool": ({"steering_weights": {"one": True}}, "'steering_weights.one' must be a number"),
    "no weight": ({"steering_weights": {"one": None}}, "'steering_weights.one' must be a number"),
    "weights in a list": ({"steering_weights": [1.0]}, "'steering_weights' must be an object"),
    "a model that is no text": ({"model": 3}, "'model' must be one of \"tiny-random\", found 3"),
}  # fmt: skip


def refused(answer, status=400):
    """The error of a refusal, which has OpenAI's form, one line, and no traceback."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 500
    assert "Traceback" not in answer.text
    return error


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named(server, chat, case):
    fields, message = WRONG[case]
    error = refused(server.post(**chat(**fields)))
    assert error["type"] == "invalid_request_error"
    assert error["param"].partition(".")[0].partition("[")[0] in (*fields, "max_tokens")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error["message"])


BROKEN = {
    "nothing": (b"", "not JSON"),
    "half": (b'{"model": ', "not JSON"),
    "a list": (b"[]", r"must be a JSON object, found \[\]"),
    "NaN": (b'{"temperature": NaN}', "NaN is not a JSON number"),
    "infinity": (b'{"temperature": -Infinity}', "-Infinity is not a JSON number"),
    "no UTF-8": (b'{"model": "\xff"}', "not valid UTF-8"),
    "half a character": (rb'{"model": "\ud800"}', "not valid UTF-8"),
    "a key twice": (b'{"model": "a", "model": "b"}', "field 'model' is repeated"),
    "too deep": (b'{"model": ' + b"[" * 100_000, "nested too deeply"),
    "a number of many digits": (b'{"seed": ' + b"9" * 6000 + b"}", "not JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_broken_body_is_told(server, path, case):
    data, message = BROKEN[case]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refused(server.post(path, data=data))["message"])


def test_numbers_beyond_all_bounds_are_refused(server, chat):
    for field in ("temperature", "top_p", "max_tokens", "seed", "n"):
        data = json.dumps(chat(**{field: "@"})).replace('"@"', "1e999").encode()
        assert f"'{field}'" in refused(server.post(data=data))["message"]
    data = json.dumps(chat(steering_weights={"one": "@"})).replace('"@"', "1e-400").encode()
    assert "sum to 1" in refused(server.post(data=data))["message"]
    # Answers repeat what is in fields of any content.
    for stream in (False, True):
        body = {"model": "tiny-random", "input": "a", "metadata": {"a": ["@"]}, "stream": stream}
        data = json.dumps(body).replace('"@"', "1e999").encode()
        error = refused(server.post("/v1/responses", data=data))
        assert error["message"] == "'metadata.a' has a number that is too large"


def test_a_request_does_not_replace_the_chat_template(server, chat):
    for name, value in {"chat_template": "{% for i in range(9) %}{% endfor %}a", "tools": [{}]}.items():
        error = refused(server.post(**chat(chat_template_kwargs={name: value})))
        assert error["message"] == f"'chat_template_kwargs.{name}' is not supported; leave it out"
    assert server.post(**chat(chat_template_kwargs={"date": "today", "chat_template": None})).ok


def test_more_answers_than_run_and_queue_are_refused_for_good(serve, chat):
    with serve(Limits(running=2, queue=1)) as small:
        assert small.post(**chat(n=3, max_tokens=1)).ok
        response = small.post(**chat(n=4, max_tokens=1))
        assert response.status_code == 400
        assert "'n'" in refused(response)["message"]


def test_completions_are_refused_likewise(server):
    def message(**fields):
        body = {"model": "tiny-random", "prompt": "a", "max_tokens": 3, **fields}
        return refused(server.post("/v1/completions", **body))["message"]

    assert "'prompt' must be a string or an array of 1 to 64, each a string" in message(prompt=None)
    assert "'prompt' must be a string or" in message(prompt=[5, "a"])
    assert "the prompt has no tokens" in message(prompt="")
    assert "3 prompts times n=30 exceeds 64 answers" in message(prompt=["a", "b", "c"], n=30)
    for name, value in {"best_of": 2, "suffix": "x"}.items():
        assert f"'{name}' is not supported" in message(**{name: value})
    assert "unknown objective 'kind'" in message(steering_weights={"kind": 1})


def test_the_clients_exceptions_are_openais(server, chat):
    with pytest.raises(BadRequestError, match="unknown objective 'kind'") as found:
        server.openai.chat.completions.create(**chat(), extra_body={"steering_weights": {"kind": 1}})
    assert found.value.param == "steering_weights.kind"
    with pytest.raises(NotFoundError, match="no model 'other'; this server has 'tiny-random'"):
        server.openai.chat.completions.create(**chat(model="other"))


def test_long_prompts_are_refused(serve, server, chat):
    with serve(Limits(prompt_tokens=40)) as small:
        error = refused(small.post(**chat("x" * 30)))
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 40 tokens" in error["message"]
        assert small.post(**chat("x")).status_code == 200
    # The context of the tiny model is 4096: a prompt that leaves less room than is asked for.
    error = refused(server.post(**chat("x" * 4000, max_tokens=512)))
    assert "maximum context length is 4096 tokens" in error["message"]


def test_a_context_that_is_nearly_full_is_filled(serve, chat):
    with serve(Limits(prompt_tokens=5000)) as server:
        body = chat("x" * (4096 - 25))
        del body["max_tokens"]
        answer = server.post(**body)
        assert answer.json()["usage"]["total_tokens"] <= 4096
        assert "maximum context length" in refused(server.post(**chat("x" * 4090)))["message"]


def test_bodies_that_are_too_large_or_no_json(serve, chat):
    with serve(Limits(body_bytes=2000)) as server:
        error = refused(server.post(**chat("x" * 3_000_000)), 413)
        assert error["message"] == "the body is larger than 2000 bytes"
        assert server.post(**chat("x" * 500)).status_code == 200
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            data = json.dumps(chat()).encode()
            answer = server.post(data=data, headers={"content-type": kind})
            assert "must be application/json" in refused(answer, 415)["message"]
        assert server.post(data=data, headers={"content-type": "Application/JSON; charset=utf-8"}).ok


def test_a_body_that_is_too_slow(serve):
    with serve(Limits(reading_seconds=0.3)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(head + b"Content-Length: 1000\r\n\r\n{")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert server.get("/health").json() == {"status": "ok"}


def test_other_paths_and_methods(server):
    assert "unknown path /v2/models" in refused(server.get("/v2/models"), 404)["message"]
    answer = server.get("/v1/chat/completions")
    assert "GET is not allowed" in refused(answer, 405)["message"]
    assert answer.headers["allow"] == "POST"
    for path in ("/pluralign/rewards", "/pluralign/story/play"):
        refused(server.post(path, x=1), 404)
    refused(server.get("/pluralign/story"), 404)
    refused(server.get("/../etc/passwd"), 404)


class Down(Reward):
    """A reward whose server does not answer."""

    name, counts = "down", {}

    def render(self, messages, opens):
        return messages[0]["content"]

    def score_decisions(self, decisions):
        raise ServerError("no usable answer from the endpoint http://10.0.0.7:8000: timed out")


def test_a_reward_whose_server_is_down(serve, rewards):
    body = {"prompt": "hello", "answer": "hi"}
    scorers = AnswerScorers({"harmless": Down()})
    with serve(rewards=scorers) as server:
        answer = server.post("/pluralign/rewards", **body)
        error = refused(answer, 502)
        assert error["message"].startswith("the server of the reward 'harmless' does not answer as expected")
        assert (error["type"], error["code"]) == ("server_error", "reward_unavailable")
        assert "10.0.0.7" not in answer.text
        found = server.get("/openapi.json").json()["paths"]["/pluralign/rewards"]["post"]["responses"]
        assert "502" in found
    with serve(rewards=rewards) as server:
        assert server.post("/pluralign/rewards", **body).status_code == 200


def test_a_reward_whose_code_fails(serve, caplog):
    scorers = AnswerScorers({"harmless": FunctionReward("mine", lambda prompts, texts: [1 / 0])})
    with serve(rewards=scorers) as server:
        answer = server.post("/pluralign/rewards", prompt="hello", answer="hi")
        error = refused(answer, 500)
        assert error["message"] == "the reward 'harmless' could not be computed"
        assert (error["type"], error["code"]) == ("server_error", "reward_unavailable")
        assert "500" in server.get("/openapi.json").json()["paths"]["/pluralign/rewards"]["post"]["responses"]
    assert "'mine' failed in test_refusals.py" in caplog.text


def test_after_all_that_it_answers(server, chat):
    assert server.post(**chat()).status_code == 200
    counted = server.metrics()
    assert not [name for name in counted if 'status="5' in name]
    assert counted["pluralign_running"] == 0


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize(
    "field", ['"seed": {}', '"temperature": {}', '"max_tokens": {}', '"steering_weights": {{"one": {}}}']
)
def test_numbers_of_hundreds_of_digits_are_refused(server, field, digits):
    body = '{"model": "tiny-random", "prompt": "a", ' + field.format("9" * digits) + "}"
    refused(server.post("/v1/completions", data=body.encode()), 400)
