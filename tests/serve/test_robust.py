"""Clients that go away, full queues, timeouts, tokens, names, and the end of a server."""

import json
import threading
import time

import pytest
import requests
from openai import APIError, AuthenticationError, OpenAI, RateLimitError

from pluralign.serve import connections
from pluralign.serve.audit import Audit
from pluralign.serve.settings import Access, Limits

from .test_refusals import refused


@pytest.fixture
def slow():
    """Makes every step of a server's decoder take this long."""

    def make(server, seconds=0.05):
        decoder = server.service.engine._decoder
        step = decoder.step

        def slowly():
            if decoder.running:
                time.sleep(seconds)
            return step()

        decoder.step = slowly

    return make


def test_a_stream_that_its_client_leaves_frees_its_slot(serve, chat, slow):
    with serve(Limits(running=1)) as server:
        slow(server)
        body = chat(max_tokens=1000, temperature=1.0, steering_weights={"one": 0.5, "two": 0.5})
        stream = server.openai.chat.completions.create(
            **{k: v for k, v in body.items() if k != "steering_weights"}, stream=True,
            extra_body={"steering_weights": body["steering_weights"]},
        )  # fmt: skip
        next(iter(stream))
        assert server.wait_for(lambda found: found["pluralign_running"] == 1)
        stream.close()
        # 1000 tokens would have taken 50 seconds.
        assert server.wait_for(lambda found: found["pluralign_running"] == 0)
        gone = 'pluralign_requests_total{path="/v1/chat/completions",status="499"}'
        assert server.wait_for(lambda found: found.get(gone) == 1)
        assert server.wait_for(lambda _: not server.service.deployment.rows.order)
        assert server.post(**chat()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_hang_up_free_their_slots(serve, chat, slow, stream):
    with serve(Limits(running=2, queue=8)) as server:
        slow(server)
        connections = [server.begin(**chat(max_tokens=1000, stream=stream)) for _ in range(5)]
        assert server.wait_for(
            lambda found: (found["pluralign_running"], found["pluralign_waiting"]) == (2, 3)
        )
        for connection in connections:
            connection.close()
        assert server.wait_for(
            lambda found: (found["pluralign_running"], found["pluralign_waiting"]) == (0, 0)
        )
        gone = 'pluralign_requests_total{path="/v1/chat/completions",status="499"}'
        assert server.wait_for(lambda found: found.get(gone) == 5)
        assert server.post(**chat()).status_code == 200


def test_a_full_queue_is_told_and_empties(serve, chat, slow):
    with serve(Limits(running=1, queue=1)) as server:
        slow(server)
        first, second = (server.begin(**chat(max_tokens=1000)) for _ in range(2))
        assert server.wait_for(lambda found: found["pluralign_running"] + found["pluralign_waiting"] == 2)
        answer = server.post(**chat())
        assert refused(answer, 429)["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) >= 1
        with pytest.raises(RateLimitError):
            server.openai.chat.completions.create(**chat())
        first.close()
        second.close()
        assert server.wait_for(lambda found: found["pluralign_running"] + found["pluralign_waiting"] == 0)
        assert server.post(**chat()).status_code == 200


def test_samples_are_queued_all_or_none(serve, chat, slow):
    with serve(Limits(running=2, queue=1)) as server:
        slow(server)
        # Greedily, the model does not come to an end; a sample may, and its prompt is counted then.
        stream = server.openai.chat.completions.create(**chat(max_tokens=1000), stream=True)
        next(iter(stream))
        prompt = 'pluralign_tokens_total{kind="prompt"}'
        read = server.metrics()[prompt]
        refused(server.post(**chat(n=3)), 429)
        # The prompt of a refused request is not counted: it was not read.
        assert server.metrics()[prompt] == read
        answer = server.post(**chat(n=2)).json()
        assert len(answer["choices"]) == 2
        assert server.metrics()[prompt] == read + answer["usage"]["prompt_tokens"]
        stream.close()


def test_answers_that_take_too_long(serve, chat, slow):
    with serve(Limits(seconds=0.5)) as server:
        slow(server)
        answer = server.post(**chat(max_tokens=1000))
        assert "longer than 0.5 seconds" in refused(answer, 504)["message"]
        stream = server.openai.chat.completions.create(**chat(max_tokens=1000), stream=True)
        with pytest.raises(APIError, match=r"longer than 0\.5 seconds"):
            list(stream)
        assert server.wait_for(lambda found: found["pluralign_running"] == 0)
        late = 'pluralign_requests_total{path="/v1/chat/completions",status="504"}'
        assert server.wait_for(lambda found: found[late] == 2)


def test_requests_come_and_go_while_others_run(serve, chat):
    """More requests than places: all are answered as if alone."""
    with serve(Limits(running=3, queue=20)) as server:
        alone = [server.post(**chat(f"q{i}", max_tokens=5 + i)).json()["choices"] for i in range(10)]
        found = {}

        def one(i):
            answer = requests.post(
                server.url + "/v1/chat/completions", json=chat(f"q{i}", max_tokens=5 + i), timeout=30
            )
            found[i] = answer.json()["choices"]

        threads = [threading.Thread(target=one, args=(i,)) for i in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [found[i] for i in range(10)] == alone


TOKEN = "a-secret_of:22 characters".replace(" ", ".")


def test_a_token_is_asked_for(serve, chat):
    with serve(access=Access(token=TOKEN)) as server:
        for headers in (
            {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, {"Authorization": "Bearer "},
            {"Authorization": "Bearer \xe9\xff".encode("latin-1")},
        ):  # fmt: skip
            answer = server.post(headers=headers, **chat())
            assert refused(answer, 401)["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/metrics", "/v1/models", "/pluralign/config", "/nothing"):
            refused(server.get(path), 401)
        for path in ("/", "/health", "/openapi.json"):
            assert server.get(path).status_code == 200
        with pytest.raises(AuthenticationError):
            server.openai.models.list()
        with OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0, timeout=30) as client:
            assert client.chat.completions.create(**chat()).choices
        assert server.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"}).ok


def test_only_its_own_names_are_answered(serve, chat):
    """A web page that lets its own name point at 127.0.0.1 gets nothing."""
    with serve(access=Access(hosts=("localhost", "127.0.0.1", "::1"))) as server:
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", ""):
            assert refused(server.get("/", headers={"Host": host}), 421)["code"] == "unknown_host"
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8000"):
            assert server.get("/health", headers={"Host": host}).status_code == 200
        refused(server.post(headers={"Host": "evil.example"}, **chat()), 421)


def test_every_answer_has_its_safety_headers(server):
    for path in ("/", "/health", "/nothing", "/v1/models"):
        headers = server.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    policy = server.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_ends_tells_those_who_wait(serve, chat, slow, tmp_path, capfd, monkeypatch, stream):
    # A busy client has time to read the last words, and the server's end does not wait for that time.
    monkeypatch.setattr(connections, "CLOSING", 20.0)
    answers = []
    path = tmp_path / "audit.jsonl"
    with serve(Limits(running=1), audit=Audit(path)) as server:
        slow(server)
        url = server.url + "/v1/chat/completions"

        def ask():
            try:
                answers.append(requests.post(url, json=chat(max_tokens=1000, stream=stream), timeout=30))
            except requests.RequestException:
                answers.append(None)

        waiting = threading.Thread(target=ask)
        waiting.start()
        assert server.wait_for(lambda found: found["pluralign_running"] == 1)
        began = time.monotonic()
    # The server gives those who wait a second here, and the engine ends with it; the answer takes 50.
    assert time.monotonic() - began < 15
    waiting.join(30)
    if stream:
        last = answers[0].text.strip().splitlines()[-1]
        assert "shutting down" in json.loads(last.removeprefix("data: "))["error"]["message"]
    else:
        assert "shutting down" in refused(answers[0], 503)["message"]
    start, end = map(json.loads, path.read_text().splitlines())
    assert (start["event"], end["event"], end["status"]) == ("start", "end", 503)
    assert "shutting down" in end["reason"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_broken_decoder_fails_its_requests_alone(serve, chat):
    with serve() as server:
        decoder = server.service.engine._decoder
        step = decoder.step

        def broken():
            decoder.step = step
            raise RuntimeError("out of memory\nand more")

        decoder.step = broken
        error = refused(server.post(**chat()), 503)
        assert "memory" not in error["message"]
        assert server.post(**chat()).status_code == 200
        assert not decoder.running


def test_a_decoder_that_cannot_go_on_is_told_by_health(serve, chat):
    with serve() as server:
        decoder = server.service.engine._decoder

        def broken(*_):
            raise RuntimeError("gone")

        decoder.step = decoder.release = broken
        refused(server.post(**chat()), 503)
        assert "broken" in refused(server.get("/health"), 503)["message"]
        refused(server.post(**chat()), 503)


def test_short_memory_drops_the_newest_request_alone(serve, chat, slow):
    with serve() as server:
        alone = server.post(**chat(max_tokens=60)).json()["choices"]
        decoder = server.service.engine._decoder
        fast, step, found = decoder.step, decoder.rows.step, {}
        # Both requests run when memory becomes short.
        slow(server, 0.3)

        def short(*arguments):
            decoder.rows.step = step
            raise RuntimeError("CUDA out of memory")

        def ask(name, text):
            found[name] = requests.post(
                f"{server.url}/v1/chat/completions", json=chat(text, max_tokens=60), timeout=60
            )

        threads = []
        for count, (name, text) in enumerate((("old", "hello there"), ("new", "more")), start=1):
            threads.append(threading.Thread(target=ask, args=(name, text)))
            threads[-1].start()
            assert server.wait_for(lambda seen, count=count: seen["pluralign_running"] == count)
        decoder.rows.step, decoder.step = short, fast
        for thread in threads:
            thread.join(60)
        assert found["old"].json()["choices"] == alone
        assert "not enough memory" in refused(found["new"], 503)["message"]
