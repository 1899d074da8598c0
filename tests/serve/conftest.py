"""A server with three tiny policies, on a free port of the loopback interface."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import types
from contextlib import contextmanager

import numpy as np
import pytest
import requests
import torch
from adapters import adapted
from openai import OpenAI

from pluralign.core import OptionRewards, SteeringWeights
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.serve.app import Service
from pluralign.serve.rewards import AnswerScorers
from pluralign.serve.run import make_server
from pluralign.serve.settings import Access, Limits
from pluralign.serve.story import StoryPlayer
from pluralign.steer.policies import load_policies

from .browsing import FRONT, SCALE

NAMES = ("one", "two", "three")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(NAMES):
        save_adapter(adapted(seed), place / name)
    return {name: place / name for name in NAMES}


class Server:
    """A running server, and clients of it."""

    def __init__(self, service, port):
        self.service, self.url = service, f"http://127.0.0.1:{port}"
        self.port = port
        self.session = requests.Session()
        self.session.trust_env = False
        self.openai = OpenAI(base_url=f"{self.url}/v1", api_key="-", timeout=30, max_retries=0)

    def get(self, path, **options):
        return self.session.get(self.url + path, timeout=30, **options)

    def post(self, path="/v1/chat/completions", data=None, headers=None, **body):
        if data is not None:
            kind = {"content-type": "application/json", **(headers or {})}
            return self.session.post(self.url + path, data=data, headers=kind, timeout=30)
        return self.session.post(self.url + path, json=body, headers=headers, timeout=30)

    def begin(self, path="/v1/chat/completions", **body):
        """A connection that has sent a request and reads nothing."""
        data = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return connection

    def metrics(self):
        """Of `/metrics`, by their name with labels."""
        lines = self.get("/metrics").text.splitlines()
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
        }

    def wait_for(self, holds, seconds=30.0):
        """Whether the metrics come to hold; what the server counts after a response is not there at once."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds(self.metrics()):
                return True
            time.sleep(0.02)
        return False


@contextmanager
def serving(service, drain=1.0, health=None):
    """Serve on a free port, and shut down in bounded time."""
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = make_server(service, drain, health)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    assert server.started
    found = Server(service, bound.getsockname()[1])
    try:
        yield found
    finally:
        found.session.close()
        found.openai.close()
        server.should_exit = True
        thread.join(60)
        bound.close()
        assert not thread.is_alive()
        assert not service.engine._thread.is_alive()


@pytest.fixture
def serve(folders):
    """Serves with these settings: a context manager."""

    def make(limits=None, access=None, **settings):
        deployment = load_policies("tiny-random", folders, dtype="float32")
        return serving(Service(deployment, limits or Limits(), access or Access(), **settings))

    return make


@pytest.fixture(scope="module")
def server(folders):
    """One for all tests of a file that change nothing of it."""
    with serving(
        Service(load_policies("tiny-random", folders, dtype="float32"), Limits(new_tokens=512))
    ) as found:
        yield found


@pytest.fixture
def chat():
    """A request's body."""

    def make(text="hello there", **fields):
        message = {"role": "user", "content": text}
        return {"model": "tiny-random", "messages": [message], "temperature": 0, "max_tokens": 10, **fields}

    return make


def own_text(name, prompt_ids, tokens=10):
    """The greedy text of one adapter, by transformers' own generate."""
    model = adapted(NAMES.index(name))
    ids = torch.tensor([prompt_ids])
    whole = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    return make_tiny_backbone().tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)


class TwoOptions:
    """A policy that prefers one option of each decision, wherever it stands."""

    def __init__(self, name, preferred):
        self.name, self._preferred = name, preferred

    def log_probs(self, decisions):
        found = []
        for decision in decisions:
            shares = np.ones(len(decision.options))
            shares[self._preferred % len(shares)] = 8.0
            found.append(np.log(shares / shares.sum()))
        return found


def story_player(inferred=None, power=0.0, dial=None):
    """A built-in story with a policy for each of two objectives."""
    story = load_story("salt_ledger")
    policies = {"score": TwoOptions("a", 0), "harm_avoidance": TwoOptions("b", -1)}
    return StoryPlayer(lambda: ChoiceScriptGame(story), policies, power, inferred, dial)


@pytest.fixture
def story_table():
    """The story under uniform weights."""
    return story_player()


class Length:
    """A reward: how long the answer is, and minus that."""

    counts: dict = {}  # noqa: RUF012

    def __init__(self, sign):
        self.name, self._sign = "length", sign

    def render(self, messages, opens):
        return "\n".join(message["content"] for message in messages)

    def score_decisions(self, decisions):
        lengths = [np.array([float(len(o)) for o in d.options]) for d in decisions]
        return [OptionRewards(self._sign * one, 0.5 * np.ones_like(one)) for one in lengths]


@pytest.fixture
def rewards():
    """Two rewards of answers."""
    return AnswerScorers({"one": Length(1.0), "two": Length(-1.0)})


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def refusal(text):
    """Whether a browser reports a refusal that pages expect."""
    return "status of 401" in text or "status of 429" in text


@pytest.fixture
def opened(browser):
    """Opens a page of a server; the page's errors and foreign requests fail the test."""
    contexts, faults = [], []

    def make(server, path="/", **options):
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda m: faults.append(m.text) if m.type == "error" and not refusal(m.text) else None
        )
        page.on(
            "request", lambda r: None if r.url.startswith((server.url, "data:")) else faults.append(r.url)
        )
        page.goto(server.url + path)
        page.locator(".panel:not([hidden]), #login:not([hidden])").wait_for()
        return page

    yield make
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture(scope="module")
def table(folders):
    """A server with everything that the page can show of a chat."""
    service = Service(
        load_policies("tiny-random", folders, dtype="float32"), Limits(new_tokens=512),
        rewards=AnswerScorers({"one": Length(1.0), "two": Length(-1.0)}),
        fronts={"chat": {**FRONT, "scale": SCALE}},
        presets={"careful": SteeringWeights(one=0.2, two=0.8), "three alone": SteeringWeights(three=1.0)},
    )  # fmt: skip
    with serving(service) as found:
        yield found


@pytest.fixture(params=[1280, 390])
def shown(request, table, opened):
    """The page at one of two widths, with the bodies of its requests."""
    page = opened(table, viewport={"width": request.param, "height": 800})
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if "completions" in r.url else None)
    page.get_by_label("Tokens").fill("8")
    page.get_by_label("Temperature").fill("0")
    return types.SimpleNamespace(page=page, asked=asked, width=request.param)
