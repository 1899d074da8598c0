"""The command's end: killed, or asked to end while streams are in progress."""

import json
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import pluralign.cli

COMMAND = Path(pluralign.cli.__file__).with_name("__main__.py")
MESSAGES = [{"role": "user", "content": "hello there"}]


@contextmanager
def started(forks, folders, *options):
    """The command as a process, and the address that it prints at its start."""
    process = forks.start(
        COMMAND, "serve", "--model", "tiny-random", "--dtype", "float32", "--port", "0", "--policies",
        *(f"{name}={folder}" for name, folder in folders.items()), *options,
    )  # fmt: skip
    try:
        yield process, process.first_line().rpartition(" at ")[2].rstrip("/\n")
    finally:
        process.kill()


class Stream(threading.Thread):
    """A client that reads a stream of an answer until it ends."""

    def __init__(self, url, seed):
        super().__init__(daemon=True)
        self._url, self.begun, self.events, self.cut = url, threading.Event(), [], False
        # The same token again and again, so that no answer ends early.
        self._body = {
            "model": "tiny-random", "messages": MESSAGES, "max_tokens": 1000, "stream": True, "seed": seed,
            "logit_bias": {"40": 100},
        }  # fmt: skip
        self.start()

    def run(self):
        try:
            with requests.post(
                f"{self._url}/v1/chat/completions", json=self._body, stream=True, timeout=60
            ) as answer:
                for line in answer.iter_lines():
                    if line:
                        self.events.append(line.decode().removeprefix("data: "))
                        # The first event has no text.
                        if len(self.events) > 1:
                            self.begun.set()
        except requests.RequestException:
            self.cut = True
        self.begun.set()


def begin(url, count):
    streams = [Stream(url, seed) for seed in range(count)]
    for stream in streams:
        assert stream.begun.wait(60)
    return streams


def test_every_stream_of_a_killed_server_has_its_line(forks, folders, tmp_path):
    path = tmp_path / "audit.jsonl"
    with started(forks, folders, "--audit", path) as (server, url):
        streams = begin(url, 13)
        server.kill()
        for stream in streams:
            stream.join(30)
    assert all(stream.cut for stream in streams)
    ids = {json.loads(stream.events[0])["id"] for stream in streams}
    found = [json.loads(one) for one in path.read_text().splitlines()]
    assert len(ids) == 13
    assert {one["id"] for one in found if one["event"] == "start"} == ids
    assert all(one["steering_weights"] and one["prompt_tokens"] for one in found)


@pytest.mark.parametrize("drain", [0, pytest.param(60, marks=pytest.mark.slow)])
def test_streams_end_when_the_server_is_asked_to(forks, folders, tmp_path, drain):
    path = tmp_path / "audit.jsonl"
    with started(forks, folders, "--audit", path, "--drain", drain) as (server, url):
        streams = begin(url, 4)
        began = time.monotonic()
        server.send(signal.SIGTERM)
        for stream in streams:
            stream.join(60)
        ended = server.wait(60)
        # A server without requests does not wait.
        assert time.monotonic() - began < 50
    assert (ended.returncode, ended.stdout.splitlines()[1:], ended.stderr) == (0, ["stopped"], "")
    assert not any(stream.cut for stream in streams)
    ends = [json.loads(one) for one in path.read_text().splitlines()][4:]
    assert [one["event"] for one in ends] == ["end"] * 4
    if drain == 60:
        assert {stream.events[-1] for stream in streams} == {"[DONE]"}
        assert {one["status"] for one in ends} == {200}
    else:
        messages = [json.loads(stream.events[-1])["error"]["message"] for stream in streams]
        assert all("shutting down" in message for message in messages)
        assert {one["status"] for one in ends} == {503}
