"""The audit file: refusals, full disks, and lines of bounded length."""

import errno
import json
import os
from pathlib import Path

import pytest

from pluralign.serve import audit as audit_module
from pluralign.serve.audit import Audit
from pluralign.serve.settings import Access, Limits

from .test_records import lines
from .test_refusals import refused

TOKEN = "a-token-of-one-client"


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full after a number of bytes; None is one with room."""

    class Disk:
        room = None

        def write(self, file, data):
            if self.room is None:
                return real(file, data)
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = real(file, data[: self.room])
            self.room -= written
            return written

    found, real = Disk(), os.write
    monkeypatch.setattr(audit_module.os, "write", found.write)
    return found


def test_refusals_have_their_reason(serve, chat, tmp_path):
    path = tmp_path / "audit.jsonl"
    access = Access(token=TOKEN, hosts=("127.0.0.1",))
    with serve(Limits(body_bytes=1000), access, audit=Audit(path)) as server:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        server.post(**chat("my secret"))
        server.get("/v1/models", headers={"Host": "evil.example"})
        server.get("/secret", headers=headers)
        server.post(headers=headers, **chat("my secret", warmth="my secret", model="tiny-random"))
        server.post(headers=headers, **chat(steering_weights={"secret": 1.0}))
        server.post(headers=headers, **chat("x" * 2000))
        server.post("/pluralign/rewards", headers=headers, messages=[])
        server.get("/health", headers={"Host": "evil.example"})
    found = lines(path)
    assert {(one["event"], one["address"]) for one in found} == {("refused", "127.0.0.1")}
    assert [(one["status"], one["reason"]) for one in found] == [
        (401, "a bearer token is required (Authorization: Bearer ...)"),
        (421, "this server does not accept this Host header"),
        (404, "the path is unknown"),
        (400, "the request is invalid"),
        (400, "the request's 'steering_weights' is invalid"),
        (413, "the body is larger than 1000 bytes"),
        (404, "the request is invalid"),
    ]
    assert [one["path"] for one in found if "path" in one] == [
        "/v1/chat/completions", "/v1/models", "/secret", "/pluralign/rewards",
    ]  # fmt: skip
    assert "my secret" not in path.read_text()


def test_many_refusals_are_counted(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(audit_module.time, "monotonic", lambda: now[0])
    audit = Audit(tmp_path / "audit.jsonl")
    for number in range(250):
        audit.refused({"id": number})
    now[0] += 60
    audit.refused({"id": 250})
    audit.refused({"id": 251})
    found = lines(audit.path)
    assert [one["id"] for one in found] == [*range(100), 250, 251]
    assert [one.get("omitted") for one in found[-3:]] == [None, 150, None]


def test_a_full_disk_never_glues_lines(tmp_path, disk):
    audit = Audit(tmp_path / "audit.jsonl")
    audit.write({"id": 0})
    for room in (0, 10):
        disk.room = room
        with pytest.raises(OSError, match="No space"):
            audit.write({"id": "lost"})
        with pytest.raises(OSError, match="No space"):
            audit.write({"id": "lost"})
        assert audit.failure == audit.check() == "No space left on device"
    disk.room = None
    audit.write({"id": 1})
    assert audit.failure is None
    written = audit.path.read_bytes().splitlines()
    assert len(written) == 3
    assert [json.loads(written[place])["id"] for place in (0, 2)] == [0, 1]
    # The line of a server that was killed is not continued.
    audit.path.write_bytes(audit.path.read_bytes() + b'{"id": "half')
    again = Audit(audit.path)
    again.write({"id": 2})
    assert json.loads(again.path.read_bytes().splitlines()[-1])["id"] == 2


def test_lines_are_bounded(tmp_path):
    audit = Audit(tmp_path / "audit.jsonl", texts=True)
    for text in ("a" * 10**6, '\0"' * 10**6, "\U0001f600" * 10**6):
        audit.write({"id": 1}, {"prompt": [{"role": "user", "content": text}], "answers": [text, text]})
    audit.write({"id": 1}, {"answers": ["short"]})
    assert max(map(len, audit.path.read_bytes().splitlines())) <= 1 << 16
    found = lines(audit.path)
    assert [one.get("cut") for one in found] == [True, True, True, None]
    assert all(one["id"] == 1 and one["answers"] for one in found)


def test_answers_go_on_and_health_says_it(serve, chat, tmp_path, disk):
    with serve(audit=Audit(tmp_path / "audit.jsonl")) as server:
        disk.room = 0
        assert server.post(**chat()).status_code == 200
        assert server.wait_for(lambda found: found["pluralign_audit_failures_total"] == 2)
        assert server.get("/health").json() == {"status": "ok", "audit": "No space left on device"}
        disk.room = None
        assert server.get("/health").json() == {"status": "ok"}
    assert [one["event"] for one in lines(tmp_path / "audit.jsonl")] == ["resumed"]


@pytest.mark.parametrize("stream", [False, True])
def test_required_lines_are_written_or_nothing_is_answered(serve, chat, tmp_path, disk, stream):
    path = tmp_path / "audit.jsonl"
    with serve(audit=Audit(path, required=True)) as server:
        disk.room = 0
        assert refused(server.post(**chat(stream=stream)), 503)["code"] == "audit_failed"
        refused(server.get("/health"), 503)
        assert server.wait_for(lambda found: found["pluralign_running"] == 0)
        assert server.metrics()['pluralign_tokens_total{kind="completion"}'] == 0
        disk.room = None
        assert server.get("/health").status_code == 200
        assert server.post(**chat(stream=stream)).status_code == 200
        assert server.wait_for(lambda _: len(lines(path)) == 3)
    assert [one["event"] for one in lines(path)] == ["resumed", "start", "end"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_device_is_counted_and_answers_go_on(serve, chat):
    with serve(audit=Audit(Path("/dev/full"))) as server:
        assert server.post(**chat()).status_code == 200
        assert server.wait_for(lambda found: found["pluralign_audit_failures_total"] == 2)
