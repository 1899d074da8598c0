"""What is counted, and what the audit says."""

import json
import re
import stat
from datetime import UTC, datetime, timedelta

import pytest

from pluralign.core import InputError
from pluralign.serve.audit import Audit
from pluralign.serve.metrics import Histogram, Metrics


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_metrics_count_what_was_asked(serve, chat):
    with serve() as server:
        usage = [server.post(**chat(n=n)).json()["usage"] for n in (1, 2)]
        server.post(**chat(n=99))
        server.post(data=b"{")
        list(server.openai.chat.completions.create(**chat(max_tokens=4), stream=True))
        server.get("/made-up")
        server.get("/other-made-up")
        path = 'path="/v1/chat/completions"'
        # A stream is counted when it has ended, which its client sees first.
        assert server.wait_for(lambda found: found[f'pluralign_requests_total{{{path},status="200"}}'] == 3)
        counted = server.metrics()
        assert counted[f'pluralign_requests_total{{{path},status="400"}}'] == 2
        assert counted['pluralign_requests_total{path="other",status="404"}'] == 2
        prompt = sum(one["prompt_tokens"] for one in usage) + usage[0]["prompt_tokens"]
        completion = sum(one["completion_tokens"] for one in usage) + 4
        assert counted['pluralign_tokens_total{kind="prompt"}'] == prompt
        assert counted['pluralign_tokens_total{kind="completion"}'] == completion
        assert counted["pluralign_request_seconds_count"] == 3
        assert counted["pluralign_first_token_seconds_count"] == 3
        assert 0 < counted["pluralign_first_token_seconds_sum"] <= counted["pluralign_request_seconds_sum"]
        assert counted['pluralign_request_seconds_bucket{le="+Inf"}'] == 3
        assert (counted["pluralign_running"], counted["pluralign_waiting"]) == (0, 0)


def test_the_text_is_prometheus():
    metrics = Metrics()
    metrics.requests["/", 200] += 1
    text = metrics.render({"running": ("Now.", 2)})
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"\\\n]*"(,[a-z]+="[^"\\\n]*")*\})? [0-9.e+-]+\Z')
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith(("# HELP pluralign_", "# TYPE pluralign_")) or sample.match(line), line
    assert "pluralign_running 2" in text


def test_a_histograms_buckets_add_up():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.lines("h") == [
        'h_bucket{le="1"} 2', 'h_bucket{le="2"} 3', 'h_bucket{le="+Inf"} 4', "h_sum 12.000000", "h_count 4",
    ]  # fmt: skip


def test_each_request_has_its_line(serve, chat, tmp_path):
    path = tmp_path / "new" / "audit.jsonl"
    with serve(audit=Audit(path)) as server:
        answer = server.post(
            **chat(
                "a secret", steering_weights={"one": 0.25, "two": 0.75}, temperature=0.5, seed=3, stop="zzz"
            )
        ).json()
        assert server.wait_for(lambda _: len(lines(path)) == 2)
        start, line = lines(path)
        assert line["id"] == answer["id"]
        assert {**line, **start, "event": "end", "time": line["time"]} == line
        assert (start["event"], line["event"], line["reason"]) == ("start", "end", None)
        assert (line["address"], line["token"]) == ("127.0.0.1", None)
        assert (line["status"], line["api"], line["stream"], line["samples"]) == (200, "chat", False, 1)
        assert line["steering_weights"] == {"one": 0.25, "two": 0.75, "three": 0.0}
        assert line["decoding"] == {
            "max_new_tokens": 10, "temperature": 0.5, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "stop": 1,
            "seed": 3, "presence_penalty": 0.0, "frequency_penalty": 0.0, "logit_bias": 0, "schema": False,
        }  # fmt: skip
        usage = answer["usage"]
        assert (line["prompt_tokens"], line["completion_tokens"]) == (
            usage["prompt_tokens"], usage["completion_tokens"],
        )  # fmt: skip
        assert line["finish_reasons"] == [answer["choices"][0]["finish_reason"]]
        assert 0 < line["milliseconds"] < 30_000
        assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert "secret" not in path.read_text()

        server.post(**chat(n=99))
        server.post("/v1/completions", data=b"[")
        list(server.openai.chat.completions.create(**chat(max_tokens=4), stream=True, n=2))
        assert server.wait_for(lambda _: len(lines(path)) == 6)
        assert [(one["event"], one.get("status"), one["api"]) for one in lines(path)[2:]] == [
            ("refused", 400, "chat"), ("refused", 400, "completions"), ("start", None, "chat"),
            ("end", 200, "chat"),
        ]  # fmt: skip
        assert [one["reason"] for one in lines(path)[2:4]] == [
            "the request's 'n' is invalid", "the request is invalid",
        ]  # fmt: skip
        assert lines(path)[2]["steering_weights"] is None
        last = lines(path)[-1]
        assert (last["stream"], last["samples"], last["finish_reasons"]) == (True, 2, ["length"] * 2)

        connection = server.begin(**chat(max_tokens=1000, stream=True))
        assert server.wait_for(lambda found: found["pluralign_running"] == 1)
        # The start of an answer that is never finished is on the disk.
        assert (lines(path)[-1]["event"], lines(path)[-1]["stream"]) == ("start", True)
        connection.close()
        assert server.wait_for(lambda found: found["pluralign_running"] == 0)
        assert server.wait_for(lambda _: len(lines(path)) == 8)
        assert (lines(path)[-1]["status"], lines(path)[-1]["finish_reasons"]) == (499, [None])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({one["id"] for one in lines(path)}) == 5


def test_texts_are_written_only_when_asked(serve, chat, tmp_path):
    path = tmp_path / "audit.jsonl"
    with serve(audit=Audit(path, texts=True)) as server:
        answer = server.post(**chat("a secret\n", stop="zzz", logit_bias={"5": 1})).json()
        server.post(**chat("a secret", n="many"))
    start, line, refused = lines(path)
    assert start["prompt"] == [{"role": "user", "content": "a secret\n"}]
    assert (start["stop"], start["tools"], start["logit_bias"]) == (["zzz"], [], {"5": 1.0})
    assert 'found "many"' in refused["reason"]
    assert line["answers"] == [answer["choices"][0]["message"]["content"]]


def test_a_known_file_grows(tmp_path):
    path = tmp_path / "audit.jsonl"
    for number in range(2):
        audit = Audit(path)
        audit.write({"id": number})
        audit.close()
    assert [line["id"] for line in lines(path)] == [0, 1]
    with pytest.raises(OSError, match="closed"):
        audit.write({})
    with pytest.raises(InputError, match="cannot be written"):
        Audit(path / "below")
