"""Connections that wait for their clients: idle ones, half-sent requests, and room for others."""

import contextlib
import socket
import threading
import time

import pytest
import requests

from pluralign.serve.settings import Access, Limits

TOKEN = "a-token-of-one-client"
HALF = b"GET /health HTTP/1.1\r\nHost: local"


def connect(server, data=b""):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(data)
    return connection


def received(connection):
    """What the server sends until it closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def healthy(connection):
    """Whether a health check on an open connection is answered."""
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(4096)
        if not part:
            return False
        answer += part
    return answer.startswith(b"HTTP/1.1 200")


def ask(server, body, seconds, failures, lengths):
    """Ask again and again, each time on a new connection, and look after the server's health."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            answer = requests.post(
                f"{server.url}/v1/chat/completions", json=body, timeout=30,
                headers={"Authorization": f"Bearer {TOKEN}"},
            )  # fmt: skip
            began = time.monotonic()
            health = requests.get(f"{server.url}/health", timeout=30)
            lengths.append(time.monotonic() - began)
            if (answer.status_code, health.status_code) != (200, 200):
                failures.append((answer.text, health.text))
        except requests.RequestException as error:
            failures.append(error)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_idle_and_half_sent_connections_leave_room(serve, chat, seconds):
    with serve(Limits(idle_seconds=120), Access(token=TOKEN)) as server:
        held = [connect(server) for _ in range(600)] + [connect(server, HALF) for _ in range(100)]
        failures, lengths = [], []
        threads = [
            threading.Thread(target=ask, args=(server, chat(max_tokens=2), seconds, failures, lengths))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 60)
        for one in held:
            one.close()
    assert not failures
    assert len(lengths) >= 4
    assert sorted(lengths)[len(lengths) * 9 // 10] < 5


@pytest.mark.parametrize("sent", [b"", b"GET", HALF], ids=["nothing", "a word", "half the headers"])
def test_headers_must_arrive_in_time(serve, sent):
    with serve(Limits(idle_seconds=0.3)) as server, connect(server, sent) as connection:
        assert received(connection) == b""


def test_a_client_that_trickles_is_closed(serve):
    """Every byte comes in time, and the whole does not."""
    with serve(Limits(idle_seconds=0.5)) as server, connect(server, HALF) as connection:
        ended = threading.Event()

        def trickle():
            with contextlib.suppress(OSError):
                while not ended.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        assert received(connection) == b""
        ended.set()
        thread.join(10)


@pytest.mark.parametrize("limits", [{"reading_seconds": 0.3}, {}], ids=["408", "401"])
def test_a_body_that_trickles_after_its_answer_is_closed(serve, limits):
    """The answer comes before the body is complete, which must not keep the connection open."""
    access = Access() if limits else Access(token=TOKEN)
    with serve(Limits(idle_seconds=0.5, **limits), access) as server:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with connect(server, head + b"Content-Length: 100000\r\n\r\n{") as connection:
            ended = threading.Event()

            def trickle():
                with contextlib.suppress(OSError):
                    while not ended.wait(0.05):
                        connection.sendall(b" ")

            thread = threading.Thread(target=trickle)
            thread.start()
            answer = received(connection)
            ended.set()
            thread.join(10)
        assert answer.startswith(b"HTTP/1.1 408" if limits else b"HTTP/1.1 401")


def test_a_connection_is_kept_between_requests(serve):
    with serve(Limits(idle_seconds=5)) as server, connect(server) as connection:
        for _ in range(3):
            assert healthy(connection)
            time.sleep(0.05)


@pytest.mark.parametrize("field", ["connections", "connections_per_address"])
def test_the_oldest_idle_connection_makes_room(serve, field):
    with serve(Limits(idle_seconds=60, **{field: 3})) as server:
        held = [connect(server) for _ in range(3)]
        time.sleep(0.2)
        new = connect(server)
        assert healthy(new)
        assert received(held[0]) == b""
        assert healthy(held[1])
        for one in (*held, new):
            one.close()


def test_health_is_answered_while_all_requests_are_taken(serve, chat):
    with serve(Limits(connections=2, running=1)) as server:
        decoder = server.service.engine._decoder
        step, go = decoder.step, threading.Event()
        decoder.step = lambda: (go.wait(60), step())[1]
        held = [server.begin(**chat(max_tokens=500)) for _ in range(2)]
        end = time.monotonic() + 30
        while server.service.engine.running + server.service.engine.waiting < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        busy = requests.get(f"{server.url}/v1/models", timeout=30)
        assert (busy.status_code, busy.json()["error"]["code"]) == (503, "too_many_requests")
        assert int(busy.headers["retry-after"]) >= 1
        assert requests.get(f"{server.url}/health", timeout=30).json() == {"status": "ok"}
        for one in held:
            one.close()
        go.set()
