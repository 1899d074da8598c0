"""When refused requests find room."""

import threading
import time

import pytest

from pluralign.serve.pace import Pace
from pluralign.serve.settings import Limits

from .test_robust import slow  # noqa: F401


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def pace(now):
    return Pace(4, lambda: now[0])


def test_requests_are_sent_to_the_places_that_become_free(pace, now):
    for _ in range(20):
        pace.begun()
    for _ in range(10):
        now[0] += 2.0
        pace.finished(1, 8.0)
    # A place every two seconds, and a quarter more; each request takes a place.
    assert [pace.place_in(1) for _ in range(4)] == [2.5, 5, 7.5, 10]
    assert pace.place_in(2) == 15
    assert pace.answer_in() == 8
    now[0] += 16
    assert pace.place_in(1) <= 6


def test_without_answers_the_estimate_is_rough(pace, now):
    # Half a second each, and a quarter more; two requests do not come together.
    assert [pace.place_in(1) for _ in range(2)] == [1, 1.625]
    assert pace.answer_in() == 1
    now[0] += 10
    for _ in range(8):
        pace.begun()
    now[0] += 20
    # No answer ended in 20 seconds: not soon.
    assert pace.place_in(1) >= 5


def test_time_without_requests_does_not_count(pace, now):
    for _ in range(2):
        pace.begun()
        now[0] += 4
        pace.finished(1, 4.0)
        now[0] += 10_000
    pace.begun()
    assert pace.place_in(1) == 1.25  # 4 seconds for one of four answers at once


def test_nobody_waits_longer_than_a_minute(pace, now):
    assert max(pace.place_in(64) for _ in range(100)) == 60
    now[0] += 61
    assert pace.place_in(1) == 1


@pytest.mark.parametrize(("clients", "queue"), [(40, 4), pytest.param(120, 16, marks=pytest.mark.slow)])
def test_all_clients_with_default_retries_are_answered(serve, chat, slow, clients, queue):  # noqa: F811
    with serve(Limits(running=4, queue=queue)) as server:
        slow(server, 0.03)
        client = server.openai.with_options(max_retries=2)
        for _ in range(2):
            client.chat.completions.create(**chat(max_tokens=4))
        failures = []

        def ask(number):
            try:
                client.chat.completions.create(**chat(f"{number}", max_tokens=4))
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not failures, (len(failures), failures[0], time.monotonic() - began)
        refusals = server.metrics()['pluralign_requests_total{path="/v1/chat/completions",status="429"}']
        assert refusals >= clients // 2


def test_models_say_whether_answers_depend_on_the_batch(server):
    model = server.get("/v1/models").json()["data"][0]
    assert (model["dtype"], model["batch_invariant"]) == ("float32", True)
