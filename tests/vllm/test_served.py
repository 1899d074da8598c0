"""Plain ``vllm serve`` with the command that ``pluralign vllm`` prints; needs vLLM."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
import time

import pytest
import requests

from pluralign.cli import main
from pluralign.core import SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.policies import load_policies
from pluralign.steer.requests import Request

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed (make test-vllm installs it)", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
MIX = {"a": 0.5, "b": 0.3, "base": 0.2}
LIMITS = (
    "--dtype float32 --enforce-eager --max-model-len 256 --max-num-seqs 12 --block-size 32 --host 127.0.0.1"
)


def whole(text):
    """A text without characters that are incomplete at the end, which vLLM leaves out."""
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


class Client:
    def __init__(self, address, mix):
        self.address, self.mix = address, mix
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, path="/v1/completions", **body):
        return self.session.post(self.address + path, json={"model": "model", **body}, timeout=120)

    def texts(self, **body):
        answer = self.post(temperature=0, max_tokens=16, **body)
        assert answer.status_code == 200, answer.text
        return [whole(choice["text"]) for choice in answer.json()["choices"]]

    def own(self, prompt, weights=MIX, seed=0, temperature=0.0):
        asked = Request(
            self.mix.tokenizer(prompt).input_ids, SteeringWeights(weights), Decoding(16, temperature), seed
        )
        return whole(MixtureDecoder(self.mix.rows).generate([asked])[0])

    def get(self, path):
        return self.session.get(self.address + path, timeout=60)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from vllm_models import make_adapters, save_tiny

    root = tmp_path_factory.mktemp("served")
    model = save_tiny(root / "model")
    folders = {**make_adapters(model, root, ("a", "b"), rank=4, std=0.3), "base": root / "model"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = shlex.split(printed(model, folders))
    at = command.index("vllm")
    command[at : at + 1] = [sys.executable, "-m", "vllm.entrypoints.cli.main"]
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip
    log = root / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port), *LIMITS.split()],
            stdout=file, stderr=subprocess.STDOUT, env=os.environ | settings,
        )  # fmt: skip
    found = Client(f"http://127.0.0.1:{port}", load_policies(model, folders, dtype="float32"))
    try:
        wait(process, found, log)
        yield found
    finally:
        process.terminate()
        process.wait(60)
        found.session.close()


def printed(model, folders):
    """What the verb prints."""
    import contextlib
    import io

    policies = [f"{name}={folder}" for name, folder in folders.items()]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main(["vllm", "--model", model, "--soups", "True", "--policies", *policies])
    return out.getvalue()


def wait(process, found, log):
    for _ in range(1200):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if found.get("/health").status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text()[-3000:])


def test_texts_are_the_own_engines(client):
    prompts = [f"Tell me a story about {i} foxes." for i in range(4)]
    plain = client.texts(prompt=prompts[0])
    expected = [client.own(prompt) for prompt in prompts]
    assert client.texts(prompt=prompts, steering_weights=MIX) == expected
    assert client.texts(prompt=prompts[0]) == plain != expected[:1]
    assert plain == [client.own(prompts[0], {"base": 1.0})]


def test_seeds_are_the_own_engines(client):
    answer = client.post(
        prompt="A story", max_tokens=16, temperature=1.0, seed=-3, steering_weights=MIX, logprobs=1
    ).json()["choices"][0]
    expected = client.own("A story", seed=2**64 - 3, temperature=1.0)
    assert whole(answer["text"]) == expected
    assert len(answer["logprobs"]["token_logprobs"]) == 16 or answer["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"steering_weights": {"a": 0.5}}, "sum to 1"),
        ({"steering_weights": {"nobody": 1.0}}, "unknown objective 'nobody'"),
        ({"steering_weights": MIX, "prompt_logprobs": 1}, "score its prompt"),
        ({"model": "mix:a=0.5", "steering_weights": None}, "sum to 1"),
        ({"vllm_xargs": {"steering_weights": "a=2,b=-1"}}, "not negative"),
    ],
)
def test_mistakes_are_refused_in_one_line(client, body, message):
    answer = client.post(**{"prompt": "Hello", **body})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert "\n" not in error["message"]


def test_chats_stream(client):
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 8,
        "temperature": 0,
        "stream": True,
    }
    lines = client.post("/v1/chat/completions", **body, steering_weights=MIX).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    assert len([line for line in lines if "delta" in line]) > 1


def test_a_soup_is_loaded_when_it_is_asked_for(client):
    name = "mix:a=0.75,b=0.25"
    prompt = "Tell me a story about foxes."
    (soup,) = client.texts(prompt=prompt, model=name)
    (other,) = client.texts(prompt=prompt, model="mix:a=1")
    assert other == client.own(prompt, {"a": 1.0})
    assert soup != other
    assert client.post(prompt=prompt, model="mix:a=0.5,nobody=0.5").status_code == 400


def test_metrics_count_requests_of_users(client):
    def finished():
        lines = client.get("/metrics").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total{")
        )

    before = finished()
    answer = client.post(prompt="One two three", max_tokens=4, ignore_eos=True, steering_weights=MIX).json()
    assert answer["usage"]["completion_tokens"] == 4
    assert json.dumps(answer).count("~") == answer["choices"][0]["text"].count("~")
    assert finished() - before == 1
