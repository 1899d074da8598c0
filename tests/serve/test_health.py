"""A listener for health checks alone."""

import socket
import threading
import time

import pytest
import requests

from pluralign.serve import connections
from pluralign.serve.app import Service
from pluralign.serve.settings import Limits
from pluralign.steer.policies import load_policies

from .conftest import serving


@pytest.fixture
def door():
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


@pytest.fixture
def checked(door):
    """Sends a health check to the listener; its answer."""
    url = f"http://127.0.0.1:{door.getsockname()[1]}"

    def check(path="/health", method="GET"):
        return requests.request(method, url + path, timeout=30)

    return check


def service(folders, **limits):
    return Service(load_policies("tiny-random", folders, dtype="float32"), Limits(**limits))


def test_health_is_answered_while_the_main_listener_is_full(folders, chat, door, checked, monkeypatch):
    monkeypatch.setattr(connections, "_RESERVE", 0)
    with serving(service(folders, connections=2, running=1), health=door) as server:
        decoder = server.service.engine._decoder
        step, go = decoder.step, threading.Event()
        decoder.step = lambda: (go.wait(60), step())[1]
        held = [server.begin(**chat(max_tokens=500)) for _ in range(2)]
        engine, end = server.service.engine, time.monotonic() + 20
        while engine.running + engine.waiting < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(requests.RequestException):
            requests.get(f"{server.url}/health", timeout=30)
        assert checked().json() == {"status": "ok"}
        for one in held:
            one.close()
        go.set()


def test_only_health_is_answered(folders, door, checked):
    with serving(service(folders), health=door) as server:
        assert checked(method="HEAD").status_code == 200
        for path in ("/", "/v1/models", "/metrics", "/health/"):
            assert checked(path).status_code == 404
        refused = checked(method="POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")

        def broken(*_):
            raise RuntimeError("gone")

        decoder = server.service.engine._decoder
        decoder.step = decoder.release = broken
        assert (
            server.post(model="tiny-random", messages=[{"role": "user", "content": "a"}]).status_code == 503
        )
        assert "broken" in checked().json()["error"]["message"]


def test_a_server_that_drains_is_reported(folders, chat, door, checked):
    seen = []
    with serving(service(folders), drain=30.0, health=door) as server:
        decoder = server.service.engine._decoder
        step = decoder.step
        decoder.step = lambda: (time.sleep(0.05), step())[1]
        running = server.begin(**chat(max_tokens=1000))
        answered = threading.Event()
        assert server.wait_for(lambda found: found["pluralign_running"] == 1)

        def watch():
            # The server does not end before this: it waits for the answer.
            while [one.status_code for one in seen[-3:]] != [503] * 3:
                seen.append(checked())
                answered.set()
                time.sleep(0.1)
            running.close()

        thread = threading.Thread(target=watch)
        thread.start()
        assert answered.wait(30)
    thread.join(60)
    assert not thread.is_alive()
    statuses = [one.status_code for one in seen]
    assert statuses[0] == 200
    assert "shutting down" in seen[-1].json()["error"]["message"]
    assert statuses == sorted(statuses)
