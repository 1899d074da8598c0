"""What the page shows belongs to the mix, the answer and the prompt that it stands beside."""

import json
import threading
import time

import pytest

from pluralign.serve.relevance import RequestRelevance
from pluralign.serve.rewards import AnswerScorers
from pluralign.serve.service import Service
from pluralign.serve.settings import Access, Limits
from pluralign.steer.policies import load_policies
from pluralign.steer.relevance import Relevance

from .browsing import FRONT, SCALE, becomes, dial, text_of, write
from .conftest import NAMES, Length, serving, story_player
from .test_relevance import AIMS, Mentioned


@pytest.fixture(scope="module")
def table(folders):
    """A server with everything that the page can show of a chat; "three" is no objective of its sweep."""
    service = Service(
        load_policies("tiny-random", folders, dtype="float32"), Limits(),
        rewards=AnswerScorers({"one": Length(1.0), "three": Length(-1.0)}),
        fronts={"chat": {**FRONT, "scale": SCALE}}, story=story_player(),
        relevance=RequestRelevance(Relevance(Mentioned(), AIMS), NAMES),
    )  # fmt: skip
    with serving(service) as server:
        decoder = service.engine._decoder
        step = decoder.step
        decoder.step = lambda: (time.sleep(server.seconds * bool(decoder.running)), step())[1]
        yield server


@pytest.fixture
def slow(table):
    """The server; its tokens take these seconds."""
    table.seconds = 0.0
    return table


def begun(page, tokens="1000"):
    """An answer is being written."""
    page.get_by_label("Tokens").fill(tokens)
    page.get_by_label("Prompt", exact=True).fill("hello there")
    page.get_by_role("button", name="Write").click()
    becomes(page, "document.querySelector('#answer').textContent.length > 3")


def answering(**answer):
    return lambda route: route.fulfill(**answer)


def earlier(page):
    return page.evaluate("JSON.parse(sessionStorage.pluralign).earlier")


def test_an_answer_that_is_stopped_is_that_of_the_mix_that_wrote_it(slow, opened):
    slow.seconds = 0.05
    page = opened(slow)
    dial(page, "one").fill("100")
    begun(page)
    # The number that is refused keeps the new mix from being asked.
    page.get_by_label("Temperature").fill("9")
    dial(page, "two").fill("100")
    becomes(page, "document.querySelector('#status').textContent.includes('Stopped')")
    (kept,) = earlier(page)
    assert kept["weights"] == {"one": 1, "two": 0, "three": 0}
    assert len(kept["text"]) > 3
    assert text_of(page, "#answer") == ""
    assert not page.get_by_role("button", name="Reply to this answer").is_visible()


def test_rewards_are_those_of_the_answer(slow, opened):
    page = opened(slow)
    page.get_by_label("Tokens").fill("8")
    write(page)
    page.locator("#worth .number").first.wait_for()
    slow.seconds = 0.05
    page.get_by_label("Tokens").fill("1000")
    page.get_by_role("button", name="Another sample").click()
    becomes(page, "document.querySelector('#answer').textContent.length > 12")
    assert text_of(page, "#worth") == ""
    page.get_by_role("button", name="Stop").click()
    page.wait_for_timeout(200)
    assert text_of(page, "#worth") == ""


def test_rewards_that_fail_leave_nothing(slow, opened):
    page = opened(slow)
    page.get_by_label("Tokens").fill("8")
    write(page)
    page.locator("#worth .number").first.wait_for()
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "body": '{"error": {"message": "too many"}}'}
    page.route("**/pluralign/rewards", answering(**busy))
    page.get_by_role("button", name="Another sample").click()
    page.locator("#error").get_by_text("too many").wait_for()
    assert text_of(page, "#worth") == ""


def test_a_pinned_answer_is_of_the_sample_that_stands_beside_it(slow, opened):
    page = opened(slow)
    page.get_by_label("Tokens").fill("8")
    write(page)
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if "completions" in r.url else None)
    slow.seconds = 0.05
    page.get_by_role("button", name="Another sample").click()
    page.get_by_role("button", name="Pin this mix").click()
    becomes(page, "document.querySelectorAll('.card').length === 2")
    becomes(page, lambda: len(asked) == 2)
    assert asked[0] == asked[1]


def test_a_proxys_comments_are_no_part_of_an_answer(slow, opened):
    page = opened(slow)
    chunk = {"steering_weights": {"one": 1, "two": 0, "three": 0}}
    chunk["choices"] = [{"index": 0, "delta": {"content": "A whole answer"}, "finish_reason": "stop"}]
    for end in "\n", "\r\n":
        lines = ": keep-alive", "", "event: message", f"data: {json.dumps(chunk)}", "", ": keep-alive", ""
        body = end.join((*lines, "data:[DONE]", "", ""))
        page.route("**/v1/chat/completions", answering(body=body))
        write(page)
        assert text_of(page, "#answer") == "A whole answer"
        assert page.locator("#error").is_hidden()
        page.unroute("**/v1/chat/completions")


def test_an_answer_that_breaks_off_is_kept_and_called_so(slow, opened):
    page = opened(slow)
    chunk = {"steering_weights": {"one": 1, "two": 0, "three": 0}}
    chunk["choices"] = [{"index": 0, "delta": {"content": "Half an ans"}, "finish_reason": None}]
    part = f"data: {json.dumps(chunk)}\n\n"
    failed = 'data: {"error": {"message": "the answer took longer than 5 seconds"}}\n\n'
    for body, message in ((part, "broke off"), (part + failed, "took longer than 5 seconds")):
        page.route("**/v1/chat/completions", answering(body=body))
        page.get_by_label("Prompt", exact=True).fill("hello there")
        page.get_by_role("button", name="Write").click()
        page.locator("#error").get_by_text(message).wait_for()
        assert text_of(page, "#answer") == "Half an ans"
        assert "broken off" in text_of(page, "#status")
        assert earlier(page)[0]["note"].endswith("broken off")
        page.unroute("**/v1/chat/completions")


def test_a_restored_answer_is_not_faded(slow, opened):
    page = opened(slow)
    page.get_by_label("Tokens").fill("8")
    write(page)
    page.route("**/v1/chat/completions", lambda route: None)
    page.get_by_role("button", name="Another sample").click()
    becomes(page, "document.querySelector('#answer').classList.contains('old')")
    page.locator("#earlier-count").click()
    page.locator("#earlier-list button").first.click()
    assert not page.evaluate("document.querySelector('#answer').classList.contains('old')")


def test_a_restored_answer_says_the_weights_that_wrote_it(slow, opened):
    page = opened(slow)
    page.get_by_label("Weigh by what is at stake").check()
    page.get_by_label("Tokens").fill("4")
    write(page, "about one")
    said = text_of(page, "#status")
    assert said.startswith("one 48%, two 5%, three 47%")
    page.get_by_role("button", name="Pin this mix").click()
    becomes(page, "document.querySelectorAll('.card .status')[1].textContent.includes('tokens')")
    assert page.locator(".card .status").all_inner_texts() == [said, said]
    page.reload()
    page.locator("#earlier-count").click()
    page.locator("#earlier-list button").first.click()
    assert text_of(page, "#status") == said


def test_rewards_without_the_sweeps_unit_say_their_own(slow, opened):
    page = opened(slow)
    page.get_by_label("Tokens").fill("8")
    write(page)
    page.locator("#worth .number").first.wait_for()
    names = page.locator("#worth > span:not(.number)").all_inner_texts()
    assert names == ["one", "three (in its own unit)"]


def test_a_login_that_is_sent_twice_is_one(serve, opened):
    with serve(access=Access(token="open-sesame")) as server:
        page = opened(server)
        page.get_by_label("Token", exact=True).fill("open-sesame")
        page.evaluate("() => { for (const _ of [1, 2]) document.querySelector('#login button').click(); }")
        page.get_by_label("Prompt", exact=True).wait_for()
        page.wait_for_timeout(300)
        assert page.get_by_role("slider").count() == 3


def test_an_error_stays_until_what_failed_succeeds(slow, opened):
    page = opened(slow, "/#weights=four=1")
    page.get_by_role("tab", name="Story").click()
    page.locator("#options button").first.wait_for()
    page.get_by_text("a weight of four").wait_for()


def test_a_link_shows_what_it_fills(slow, opened):
    page = opened(slow)
    page.get_by_role("tab", name="Story").click()
    page.evaluate("location.hash = 'prompt=hello'")
    becomes(page, "document.querySelector('#prompt').value === 'hello'")
    assert page.get_by_label("Prompt", exact=True).is_visible()


def test_the_story_chooses_by_the_mix_of_the_dials(slow, opened, monkeypatch):
    page, go, play = opened(slow), threading.Event(), slow.service.story._play
    page.get_by_role("tab", name="Story").click()
    likeliest = "[...document.querySelectorAll('#options button')].findIndex(e => e.matches('.likeliest'))"
    dial(page, "score").fill("100")
    becomes(page, f"{likeliest} === 0 && document.querySelector('#options .share').textContent > '70%'")
    monkeypatch.setattr(slow.service.story, "_play", lambda *given: (go.wait(20), play(*given))[1])
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/play") else None)
    dial(page, "harm avoidance").fill("100")
    page.get_by_role("button", name="Let it choose").click()
    go.set()
    becomes(page, "!document.querySelector('#past').hidden")
    assert len(asked[-1]["actions"]) == 1
    assert asked[-1]["actions"][0] > 0


def test_a_reload_keeps_the_storys_last_mix(slow, opened, monkeypatch):
    page, go, play = opened(slow), threading.Event(), slow.service.story._play
    page.get_by_role("tab", name="Story").click()
    page.locator("#options button").first.wait_for()
    monkeypatch.setattr(slow.service.story, "_play", lambda *given: (go.wait(20), play(*given))[1])
    for value in ("70", "80", "90"):
        dial(page, "score").fill(value)
    go.set()
    becomes(page, "document.querySelector('#options .share').textContent > '70%'")
    page.reload()
    page.locator("#options button").first.wait_for()
    assert dial(page, "score").input_value() == "90"


def test_shares_of_another_mix_are_faded(slow, opened):
    page = opened(slow)
    page.get_by_role("tab", name="Story").click()
    page.locator("#options button").first.wait_for()
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "body": '{"error": {"message": "too many"}}'}
    page.route("**/pluralign/story/play", answering(**busy))
    dial(page, "score").fill("100")
    page.locator("#error").get_by_text("too many").wait_for()
    assert page.locator("#options.old").count() == 1
    assert text_of(page, "#story-status") == ""
    page.unroute("**/pluralign/story/play")
    dial(page, "score").fill("90")
    becomes(page, "!document.querySelector('#options').matches('.old')")


def test_answers_of_another_model_are_not_taken_over(slow, opened):
    page = opened(slow)
    page.get_by_label("Tokens").fill("4")
    write(page)
    page.get_by_role("button", name="Reply to this answer").click()
    page.evaluate("saved.write({model: 'another'})")
    page.reload()
    page.locator(".panel:not([hidden])").wait_for()
    assert not page.locator("#earlier").is_visible()
    assert not page.locator("#conversation").is_visible()
