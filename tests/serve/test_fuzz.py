"""Bodies that are nearly valid: none of them leads to an internal error, or stops the server."""

import random

import pytest

from pluralign.serve.settings import Limits

from .asking import asker
from .fuzzing import VALID, fuzzed
from .test_tool_calls import TEMPLATE

LIMITS = Limits(new_tokens=4, default_new_tokens=3, samples=8, body_bytes=200_000)


@pytest.fixture
def target(serve, story_table, rewards):
    with serve(LIMITS, story=story_table, rewards=rewards, asker=asker()) as server:
        server.service.deployment.tokenizer.chat_template = TEMPLATE
        yield server


def test_the_bodies_are_valid_before_they_are_changed(target):
    document = target.get("/openapi.json").json()
    assert set(VALID) == {path for path, operations in document["paths"].items() if "post" in operations}
    for path, bodies in VALID.items():
        for body in bodies:
            answer = target.post(path, **body)
            assert answer.status_code == 200, (path, body, answer.text)


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_fuzzed_bodies_are_answered_or_refused(target, count):
    draws, statuses = random.Random(count), {}
    for number in range(count):
        path, data = fuzzed(draws)
        answer = target.post(path, data=data)
        counts = statuses.setdefault(path, {})
        counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 400, 404, 413), (number, path, data[:2000], answer.text)
        if answer.status_code != 200:
            assert answer.json()["error"]["message"], (number, path, data[:2000])
        # A stream's error comes after its status.
        assert "server_error" not in answer.text, (number, path, data[:2000], answer.text)
    # Each endpoint has answered some and refused some.
    for path in VALID:
        assert {200, 400} <= set(statuses[path]), statuses
    assert not [name for name in target.metrics() if 'status="5' in name]
    assert target.get("/health").json() == {"status": "ok"}
    # Samples of a request that was refused midway leave with the next step.
    assert target.wait_for(lambda found: found["pluralign_running"] + found["pluralign_waiting"] == 0)
