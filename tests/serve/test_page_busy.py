"""A server without a free place, as the page shows it."""

import threading

import pytest

from pluralign.serve.settings import Limits

from .browsing import becomes, finished, write


@pytest.fixture
def busy(serve, chat):
    """A server with one place, which is taken until it is let go."""
    with serve(Limits(running=1, queue=0)) as server:
        decoder, go = server.service.engine._decoder, threading.Event()
        step = decoder.step
        decoder.step = lambda: (go.wait(0.2), step())[1]
        held = server.begin(**chat(max_tokens=1000, logit_bias={"40": 100}))
        assert server.wait_for(lambda found: found["pluralign_running"] == 1)
        server.let_go = lambda: (held.close(), go.set())
        yield server
        server.let_go()


def begin(page):
    """Write a prompt, with a clock that stands still; the requests that the page sends."""
    sent = []
    page.on("request", lambda r: sent.append(r) if "completions" in r.url else None)
    page.clock.install(time=0)
    page.clock.pause_at(10**6)
    page.get_by_label("Tokens").fill("8")
    page.get_by_label("Prompt", exact=True).fill("hello there")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    becomes(page, "document.querySelector('#status').textContent.includes('busy')")
    return sent


@pytest.mark.parametrize("width", [1280, 390])
def test_a_refused_request_is_sent_again_when_there_is_a_place(busy, opened, width):
    page = opened(busy, viewport={"width": width, "height": 800})
    sent = begin(page)
    words = page.locator("#status").inner_text()
    assert words.startswith("The server is busy. Trying again in ")
    assert page.locator("#stop").is_enabled()
    busy.let_go()
    assert busy.wait_for(lambda found: found["pluralign_running"] == 0)
    page.clock.run_for(1000 * (int(words.split()[-2]) - 1))
    page.wait_for_timeout(100)
    assert len(sent) == 1
    page.clock.run_for(1000)
    assert finished(page)
    assert len(sent) == 2
    assert not page.locator("#error").is_visible()


def test_it_is_sent_again_once_only(busy, opened):
    page = opened(busy)
    sent = begin(page)
    page.clock.run_for(60_000)
    page.locator("#error").wait_for()
    assert "queue is full" in page.locator("#error").inner_text()
    assert len(sent) == 2
    busy.let_go()
    assert busy.wait_for(lambda found: found["pluralign_running"] == 0)
    assert write(page)
    assert len(sent) == 3


def test_a_wait_is_stopped(busy, opened):
    page = opened(busy)
    sent = begin(page)
    page.get_by_role("button", name="Stop").click()
    assert page.locator("#status").inner_text() == "Stopped."
    busy.let_go()
    assert busy.wait_for(lambda found: found["pluralign_running"] == 0)
    page.clock.run_for(60_000)
    page.wait_for_timeout(100)
    assert len(sent) == 1
