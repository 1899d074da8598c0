"""The verb: what it refuses at once, and a server from its start to its end."""

import json
import re
import signal
import socket
import sys
from importlib import import_module

import pytest
import requests

from pluralign.cli import main
from pluralign.serve.access import is_loopback

from .test_ending import COMMAND


@pytest.fixture
def complaint(capsys, monkeypatch):
    """Runs the verb on bad input; the one line that it says."""
    monkeypatch.delenv("PLURALIGN_TOKEN", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["serve", *map(str, arguments)])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def test_bad_input_is_told_at_once(complaint, tmp_path, folders, monkeypatch):
    one = f"one={folders['one']}"
    tiny = ("--model", "tiny-random")
    assert "expected NAME=DIR, found 'one'" in complaint("--policies", "one", *tiny)
    assert "'one' is given twice" in complaint("--policies", one, one, *tiny)
    assert "no such folder" in complaint("--policies", "one=/nowhere", *tiny, "--port", 0)
    assert "--story and --story-policies must be given together" in complaint(
        "--policies", one, *tiny, "--story", "salt_ledger", "--port", 0
    )
    assert "'rewards': expected NAME=SPEC" in complaint("--policies", one, *tiny, "--rewards", "x")
    assert "NAME=NUMBER" in complaint("--policies", one, *tiny, "--weights", "x")
    assert "from 0 to 65535" in complaint("--policies", one, *tiny, "--port", 99999)
    assert "from 0 to 65535" in complaint("--policies", one, *tiny, "--port", 0, "--health-port", -1)
    assert "'health_port': must differ" in complaint(
        "--policies", one, *tiny, "--port", 9000, "--health-port", 9000
    )
    assert "cannot be read" in complaint("--policies", one, *tiny, "--token-file", tmp_path / "nowhere")
    assert "cannot be written" in complaint("--policies", one, *tiny, "--port", 0, "--audit", "/proc/x/y")
    assert "'audit_required': is for --audit" in complaint("--policies", one, *tiny, "--audit-required", True)
    assert "'ask_questions': is for --ask" in complaint("--policies", one, *tiny, "--ask-questions", 3)
    assert "'features': is for --story" in complaint("--policies", one, *tiny, "--features", tmp_path)
    for typo in (("--weights", "onee=1"), ("--preset", "kind=onee=1")):
        assert "unknown objective 'onee'; known: one" in complaint("--policies", "one=/nowhere", *tiny, *typo)
    assert "'drain': must be 0 or more" in complaint("--policies", one, *tiny, "--drain", -1)
    (tmp_path / "token").write_text("two words")
    assert "without spaces" in complaint("--policies", one, *tiny, "--token-file", tmp_path / "token")
    monkeypatch.setenv("PLURALIGN_TOKEN", "")
    assert "PLURALIGN_TOKEN must be ASCII" in complaint("--policies", one, *tiny)
    monkeypatch.delenv("PLURALIGN_TOKEN")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "cannot listen at 127.0.0.1" in complaint("--policies", one, *tiny, "--port", port)
    sweep = tmp_path / "report.json"
    point = '{"weights": {"a": 1.0}, "returns": {"a": 1, "b": 2}}'
    sweep.write_text(f'{{"objectives": ["a", "b"], "sweep": [{point}, {point}]}}')
    assert "weighs a; served are one" in complaint("--policies", one, *tiny, "--sweep", sweep)


@pytest.mark.parametrize("name", ["uvicorn", "starlette"])
def test_what_is_not_installed_is_told(name, complaint, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == name or m == "pluralign.cli.serve"
                   or m.startswith("pluralign.serve")]:  # fmt: skip
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    expected = "pluralign: serve needs starlette and uvicorn: pip install 'pluralign[serve]'"
    assert complaint("--policies", "a=b") == expected


def test_loopback_is_known():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org")))


def test_a_server_that_everybody_can_reach_says_so(folders, monkeypatch, capsys):
    monkeypatch.delenv("PLURALIGN_TOKEN", raising=False)
    doors = []
    monkeypatch.setattr(
        import_module("pluralign.serve.run"), "run_server", lambda service, *rest: doors.append(rest)
    )
    tiny = ("serve", "--model", "tiny-random", "--policies", f"one={folders['one']}", "--port", "0")

    def lines(*options):
        with pytest.raises(SystemExit) as ended:
            main([*tiny, *options])
        assert ended.value.code == 0
        return capsys.readouterr().out.splitlines()

    serving, health, token, hosts, _ = lines("--host", "0.0.0.0", "--health-port", "0")
    assert serving.startswith("serving one")
    assert re.fullmatch(r"health checks at http://0\.0\.0\.0:\d+/health", health)
    assert token.startswith("no token is set")
    assert hosts.startswith("every Host header is accepted")
    assert doors[0][2] is not None
    assert len(lines("--host", "0.0.0.0", "--allow-hosts", "example.org")) == 3
    assert len(lines()) == 2
    assert doors[2][2] is None


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_server_from_start_to_end(forks, folders, tmp_path, ending):
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    server = forks.start(
        COMMAND, "serve", "--model", "tiny-random", "--port", "0", "--policies",
        *(f"{name}={folder}" for name, folder in folders.items()), "--weights", "one=0.25,two=0.75",
        "--audit", tmp_path / "audit.jsonl", "--token-file", token, "--limits.new-tokens", "20",
    )  # fmt: skip
    try:
        line = server.first_line()
        found = re.fullmatch(
            r"serving one, two, three \(adapters of one model\) at (http://127\.0\.0\.1:\d+/)\n", line
        )
        assert found, (line, server.poll() is None or server.wait().stderr)
        url = found[1]
        assert requests.get(url + "health", timeout=60).json() == {"status": "ok"}
        assert requests.get(url + "v1/models", timeout=60).status_code == 401
        body = {"model": "tiny-random", "messages": [{"role": "user", "content": "a"}]}
        answer = requests.post(
            url + "v1/chat/completions",
            json=body,
            headers={"Authorization": "Bearer secret-token"},
            timeout=60,
        )
        assert answer.json()["steering_weights"] == {"one": 0.25, "two": 0.75, "three": 0.0}
        assert answer.json()["usage"]["completion_tokens"] <= 20
        assert requests.get(url, headers={"Host": "evil.example"}, timeout=60).status_code == 421
        server.send(ending)
        ended = server.wait(60)
    finally:
        server.kill()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{line}stopped\n", "")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["event"], line.get("status")) for line in lines] == [
        ("refused", 401), ("start", None), ("end", 200), ("refused", 421),
    ]  # fmt: skip
