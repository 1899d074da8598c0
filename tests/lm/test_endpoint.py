"""Endpoints that misbehave: nothing is lost, doubled or waited for without end."""

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from misbehaving_server import misbehaving

from pluralign.core import InputError
from pluralign.lm.endpoint import Endpoint, Reply
from pluralign.lm.endpoint_settings import EndpointSettings


def opened(*servers, **settings):
    return Endpoint("m", EndpointSettings(tuple(s.url for s in servers), **{"timeout": 5.0, **settings}))


def drawn(endpoint, count=1, **settings):
    prompts = [f"text {i}" for i in range(count)]
    found = endpoint.replies(
        prompts, list(range(count)), **{"max_new_tokens": 4, "temperature": 0.0, **settings}
    )
    return dict(found)


async def echo(exchange):
    await exchange.text(f"{exchange.body['prompt']} seed {exchange.body['seed']}")


EXPECTED = {i: Reply(f"text {i} seed {i}", "stop") for i in range(200)}


@pytest.mark.parametrize("concurrency", [1, 7, 200])
def test_hundreds_in_flight_out_of_order_are_those_of_one_at_a_time(concurrency):
    async def shuffled(exchange):
        await asyncio.sleep(random.Random(exchange.number).uniform(0, 0.02))
        await echo(exchange)

    with misbehaving(shuffled) as server:
        assert drawn(opened(server, concurrency=concurrency), 200) == EXPECTED
        assert server.most_in_flight <= concurrency
    assert len(server.requests) == 200


def test_replies_come_as_they_are_finished():
    others = threading.Event()

    async def first_is_slow(exchange):
        while exchange.body["seed"] == 0 and not others.is_set():
            await asyncio.sleep(0.01)
        await echo(exchange)

    with misbehaving(first_is_slow) as server:
        endpoint = opened(server, concurrency=2, timeout=30.0)
        found = endpoint.replies(["a"] * 20, range(20), max_new_tokens=4, temperature=0.0)
        assert sorted(next(found)[0] for _ in range(19)) == list(range(1, 20))
        others.set()
        assert [number for number, _ in found] == [0]


async def wrong_json(exchange):
    await exchange.answer(b"<html>busy</html>")


async def hang(exchange):
    await asyncio.sleep(60)


FAULTS = {
    "429": lambda exchange: exchange.error(429, Retry_After="0.05"),
    "500": lambda exchange: exchange.error(500),
    "cut": lambda exchange: exchange.cut(),
    "wrong json": wrong_json,
    "hang": hang,
}
# Only where a server hangs does the client wait for as long.
TIMEOUTS = {"hang": 1.0}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_tenth_request_fails(fault):
    async def sometimes(exchange):
        await (FAULTS[fault] if exchange.number % 10 == 3 else echo)(exchange)

    started = time.monotonic()
    with misbehaving(sometimes) as server:
        assert drawn(opened(server, concurrency=16, timeout=TIMEOUTS.get(fault, 30.0)), 40) == {
            i: EXPECTED[i] for i in range(40)
        }
    assert time.monotonic() - started < 40


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_server_of_three_is_set_aside_and_tried_again(fault):
    broken = True

    async def at_first(exchange):
        await (FAULTS[fault] if broken else echo)(exchange)

    with misbehaving(at_first) as bad, misbehaving(echo) as one, misbehaving(echo) as other:
        endpoint = opened(bad, one, other, concurrency=12, timeout=TIMEOUTS.get(fault, 30.0))
        assert drawn(endpoint, 200) == EXPECTED
        failed = len(bad.requests)
        assert 0 < failed < 30
        assert min(len(one.requests), len(other.requests)) > 50
        broken = False
        deadline = time.monotonic() + 60
        while len(bad.requests) < failed + 20 and time.monotonic() < deadline:
            assert drawn(endpoint, 60).keys() == set(range(60))
            time.sleep(0.1)
    assert len(bad.requests) >= failed + 20


def test_a_server_that_is_not_there_and_one_that_is():
    with misbehaving(echo) as gone:
        pass
    with misbehaving(echo) as server:
        assert drawn(opened(gone, server, concurrency=8), 100) == {i: EXPECTED[i] for i in range(100)}


def test_servers_take_turns():
    with misbehaving(echo) as one, misbehaving(echo) as other:
        drawn(opened(one, other, concurrency=1), 10)
    assert len(one.requests) == len(other.requests) == 5


def test_an_answer_without_end_is_refused_by_row():
    async def floods(exchange):
        await (exchange.flood() if exchange.body["seed"] == 2 else echo(exchange))

    with misbehaving(floods) as server, pytest.raises(InputError, match=r"row 3: .*answer of over 16 MiB"):
        drawn(opened(server, concurrency=2), 5)


def test_an_answer_that_drips_is_bounded_in_time():
    async def drips(exchange):
        exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        while True:
            exchange.writer.write(b" ")
            await exchange.writer.drain()
            await asyncio.sleep(0.1)

    started = time.monotonic()
    with misbehaving(drips) as server, pytest.raises(InputError, match=r"timed out after 0\.4 s"):
        drawn(opened(server, timeout=0.4, retries=1))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_what_a_server_refuses_is_one_line_with_the_row(status):
    async def refuses(exchange):
        await (exchange.error(status, "too\nlong") if exchange.body["seed"] == 4 else echo(exchange))

    message = rf"^row 5: refused by the endpoint http.*\({status}\): too long$"
    with misbehaving(refuses) as server, pytest.raises(InputError, match=message):
        drawn(opened(server, concurrency=3), 9)
    assert sum(exchange.body["seed"] == 4 for exchange in server.requests) == 1


@pytest.mark.parametrize("name", ["seed", "temperature"])
def test_a_parameter_that_is_left_out_is_told_once(name, caplog):
    async def refuses(exchange):
        if name in exchange.body:
            await exchange.error(400, f"{name} must be 1")
        else:
            await exchange.text("fine")

    with misbehaving(refuses) as server:
        assert drawn(opened(server, concurrency=1), 3)[2].text == "fine"
    (told,) = caplog.messages
    assert told == f"openai:m refuses {name!r}, which is left out from now on: {name} must be 1"


def test_a_text_keeps_its_limit_of_tokens_which_has_no_other_name():
    async def refuses(exchange):
        if "max_tokens" in exchange.body:
            await exchange.error(400, "max_tokens is too large: 4")
        else:
            await exchange.text("cut at a length of the server's")

    message = r"^row 1: refused by the endpoint .*\(400\): max_tokens is too large: 4$"
    with misbehaving(refuses) as server, pytest.raises(InputError, match=message):
        drawn(opened(server))


@pytest.mark.parametrize(
    "answer", [{}, [], {"choices": 3}, {"choices": ["a"]}, {"choices": [{"message": 1}]}]
)
def test_answers_of_another_form(answer):
    async def answers(exchange):
        await exchange.answer(answer)

    with misbehaving(answers) as server, pytest.raises(InputError, match="the answer has no choices"):
        drawn(opened(server))


def test_the_reason_of_truncation_is_kept():
    with misbehaving(lambda exchange: exchange.text("and so on", "length")) as server:
        assert drawn(opened(server)) == {0: Reply("and so on", "length")}


def test_an_abandoned_run_stops_asking():
    with misbehaving(echo) as server:
        endpoint = opened(server, concurrency=2)
        replies = endpoint.replies(["a"] * 1000, range(1000), max_new_tokens=1, temperature=0.0)
        next(replies)
        replies.close()
        asked, before = len(server.requests), 0
        while asked != before:
            time.sleep(0.3)
            asked, before = len(server.requests), asked
        assert asked < 1000
        endpoint.close()


ASKS = """
import sys
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.endpoint_settings import EndpointSettings

try:
    Endpoint("m", EndpointSettings((sys.argv[1],), concurrency=50)).generate(["a"] * 200, max_new_tokens=1)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_a_run_that_waits():
    with misbehaving(hang) as server:
        # A job in the background of a shell ignores the signal, and so would its children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen([sys.executable, "-c", ASKS, server.url], stderr=subprocess.PIPE)
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 60
        while len(server.requests) < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, b"")


def test_endpoints_leave_no_thread_behind():
    before = set(threading.enumerate())  # threads of earlier tests may end meanwhile

    def left() -> set[threading.Thread]:
        return set(threading.enumerate()) - before

    with misbehaving(echo) as server:
        endpoint = opened(server)
        drawn(endpoint, 3)
        assert left()
        del endpoint
    deadline = time.monotonic() + 30
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left()


def test_in_a_running_event_loop():
    with misbehaving(echo) as server:

        async def asks():
            return drawn(opened(server), 3)

        assert asyncio.run(asks()) == {i: EXPECTED[i] for i in range(3)}


def test_urls_of_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a:1/v1/, http://b:2/v1")
    assert Endpoint("m").urls == ["http://a:1/v1", "http://b:2/v1"]
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert Endpoint("m").urls == ["https://api.openai.com/v1"]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "http://", "file:///etc"])
def test_urls_that_are_none(url):
    with pytest.raises(InputError, match="cannot be used as an endpoint"):
        Endpoint("m", EndpointSettings((url,)))


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"concurrency": 0}, "concurrency"), ({"retries": -1}, "retries"), ({"timeout": 0.0}, "timeout")],
)
def test_settings_out_of_range(settings, field):
    with pytest.raises(InputError, match=f"'{field}'"):
        EndpointSettings(**settings)
