"""The page's questions at two widths: dials move with error bars, and the answers stay in the tab."""

import json
import types

import pytest

import pluralign as pl
from pluralign.serve.ask import Asker
from pluralign.serve.service import Service
from pluralign.serve.settings import Limits
from pluralign.steer.policies import load_policies

from .asking import NAMES, asker
from .browsing import becomes, dial, finished, outputs, text_of, weight, write
from .conftest import serving, story_player
from .test_inferred import answers

STORY = ("score", "harm_avoidance")
BANDS = (
    "[...document.querySelectorAll('#chat .interval')].map(e => e.hidden ? null : e.firstChild.style.width)"
)


@pytest.fixture(scope="module")
def asking(folders):
    deployment = load_policies("tiny-random", folders, dtype="float32")
    with serving(Service(deployment, Limits(new_tokens=512), asker=asker())) as found:
        yield found


@pytest.fixture(params=[(1280, "light"), (390, "light"), (390, "dark")], ids=["wide", "narrow", "dark"])
def shown(request, asking, opened):
    """The page at one of two widths, with the bodies of its requests."""
    width, scheme = request.param
    page = opened(asking, viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/ask") else None)
    page.get_by_label("Tokens").fill("8")
    page.get_by_label("Temperature").fill("0")
    return types.SimpleNamespace(page=page, asked=asked, width=width)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def arrived(page, number):
    """Waits for a question, by its number."""
    box = "document.querySelector('#chat-interview .box')"
    asks = f"{box}?.querySelector('[role=status]').textContent.startsWith('Question {number} ')"
    becomes(page, f"{asks} && {box}.getAttribute('aria-busy') === 'false'")


def answer(page, name):
    """Takes the answer that says more of an objective."""
    first, second = (text.count(name) for text in page.locator(".offer .answer").all_inner_texts())
    press(page, "About the same" if first == second else "First" if first > second else "Second")


def widths(page):
    return [float(one.rstrip("%")) for one in page.evaluate(BANDS)]


def test_five_answers_move_the_dials_and_narrow_their_intervals(asking, shown):
    page = shown.page
    before = write(page)
    press(page, "Ask me")
    arrived(page, 1)
    wide = widths(page)
    assert all(one > 60 for one in wide)
    assert sorted(outputs(page)) == ["33 %", "33 %", "34 %"]
    assert dial(page, "two").is_disabled()
    assert page.get_by_role("button", name="Use these weights").is_disabled()
    left, right = page.locator(".offer").all()
    assert (left.bounding_box()["y"] == right.bounding_box()["y"]) == (shown.width == 1280)
    for number in range(1, 6):
        arrived(page, number)
        assert page.evaluate("document.activeElement.id") == "chat-question"
        answer(page, "two")
    page.get_by_text("That was the last question.").wait_for()
    assert [len(one["answers"]) for one in shown.asked] == [0, 1, 2, 3, 4, 5]
    narrow = widths(page)
    assert all(after < first for after, first in zip(narrow, wide, strict=True))
    assert page.evaluate("document.documentElement.scrollWidth") <= shown.width
    assert page.locator("#answer").inner_text() == before
    assert page.evaluate("document.activeElement.textContent") == "Use these weights"
    page.keyboard.press("Enter")
    found = asking.post("/pluralign/ask", **shown.asked[-1]).json()["weights"]
    becomes(
        page, f"document.querySelector('#status').textContent.startsWith('one {round(100 * found['one'])}%')"
    )
    finished(page)
    assert sum(int(one.removesuffix(" %")) for one in outputs(page)) == 100
    assert float(weight(page, "two").input_value()) == pytest.approx(100 * found["two"], abs=1)
    # The intervals are those of the inferred weights, and go when a dial is moved by hand.
    assert widths(page) == narrow
    page.reload()
    becomes(page, f"({BANDS})[0] !== undefined")
    assert widths(page) == narrow
    assert not page.locator(".interview .box").is_visible()
    dial(page, "one").fill("80")
    assert page.evaluate(BANDS) == [None] * 3


def test_answers_are_taken_back_skipped_and_kept_in_the_tab(asking, shown, opened):
    page = shown.page
    press(page, "Ask me")
    arrived(page, 1)
    first = text_of(page, "#chat-question")
    assert page.get_by_role("button", name="Undo the last answer").is_disabled()
    press(page, "First")
    arrived(page, 2)
    second, moved = text_of(page, "#chat-question"), outputs(page)
    press(page, "Skip")
    becomes(page, f"document.querySelector('#chat-question').textContent !== {json.dumps(second)}")
    arrived(page, 2)
    assert outputs(page) == moved
    assert len(shown.asked[-1]["skipped"]) == 1
    press(page, "Undo the last answer")
    becomes(page, f"document.querySelector('#chat-question').textContent === {json.dumps(second)}")
    # A reload continues with the same question; another tab knows nothing.
    page.reload()
    arrived(page, 2)
    assert text_of(page, "#chat-question") == second
    assert outputs(page) == moved
    assert [set(one) for one in shown.asked] == [{"answers", "skipped"}] * len(shown.asked)
    other = opened(asking)
    assert not other.evaluate("document.querySelector('#chat-interview .box').offsetParent")
    press(page, "Undo the last answer")
    arrived(page, 1)
    assert text_of(page, "#chat-question") == first
    assert outputs(page) != moved
    # The weights are as they were if they are not used.
    press(page, "About the same")
    arrived(page, 2)
    press(page, "Close")
    assert sorted(outputs(page)) == ["33 %", "33 %", "34 %"]
    assert page.evaluate(BANDS) == [None] * 3
    assert dial(page, "two").is_enabled()
    assert page.evaluate("document.activeElement.textContent") == "Ask me"
    press(page, "Ask me")
    arrived(page, 2)
    press(page, "Start over")
    arrived(page, 1)


def test_the_keyboard_is_enough(shown):
    page = shown.page
    page.get_by_role("button", name="Ask me").focus()
    page.keyboard.press("Enter")
    arrived(page, 1)
    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.textContent"))
        if order[-1] == "Skip":
            break
    assert [one for one in order if one in ("First", "Second", "About the same", "Skip")] == [
        "First", "Second", "About the same", "Skip",
    ]  # fmt: skip
    page.keyboard.press("Enter")
    becomes(page, "!document.querySelector('.interview .row button:nth-child(3)').disabled")
    assert len(shown.asked[-1]["skipped"]) == 1


def test_a_server_that_fails_is_shown_and_asked_again(shown):
    page = shown.page
    page.route("**/pluralign/ask", lambda route: route.fulfill(status=401, body="{}"))
    press(page, "Ask me")
    page.get_by_text("The questions did not arrive.").wait_for()
    assert page.get_by_role("button", name="Use these weights").is_disabled()
    page.unroute("**/pluralign/ask")
    press(page, "Close")
    press(page, "Ask me")
    arrived(page, 1)


def test_without_questions_the_page_does_not_ask(serve, opened):
    with serve() as server:
        page = opened(server)
        assert not page.get_by_role("button", name="Ask me").count()


def test_one_of_several_options_is_taken_by_its_text(serve, opened):
    said = [pl.Decision(f"Where at {n}?", ("To the well.", "To the chapel.", "Home.")) for n in range(4)]
    values = [{name: float(name == own) for name in NAMES} for own in NAMES]
    with serve(asker=Asker([pl.Question(one, tuple(values)) for one in said])) as server:
        page = opened(server, viewport={"width": 390, "height": 800})
        asked = []
        page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/ask") else None)
        press(page, "Ask me")
        arrived(page, 1)
        assert not page.get_by_role("button", name="About the same").is_visible()
        press(page, "To the chapel.")
        arrived(page, 2)
        assert [one["answer"] for one in asked[-1]["answers"]] == [1]
        assert outputs(page)[1] == max(outputs(page))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_story_asks_too_and_says_what_inferred_weights_leave_open(serve, opened, width):
    inferred = answers(STORY, (2, 2))
    with serve(story=story_player(inferred), inferred=inferred, asker=asker(STORY)) as server:
        page = opened(server, viewport={"width": width, "height": 800})
        assert not page.locator("#chat").get_by_role("button", name="Ask me").count()
        page.get_by_role("tab", name="Story").click()
        page.get_by_text("The inferred weights do not decide here between").wait_for()
        bands = "document.querySelectorAll('#story .interval:not([hidden])').length"
        becomes(page, f"{bands} === 2")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Other weights are the reader's own, and say nothing of the kind.
        page.locator("#story").get_by_role("slider", name="score").fill("90")
        becomes(page, "document.querySelector('#verdict').hidden")
        assert page.evaluate(bands) == 0
        press(page, "Ask me")
        page.get_by_text("Question 1 of at most 5").wait_for()
        becomes(page, f"{bands} === 2")


def test_the_mix_that_acts_by_the_weights_is_offered_with_what_was_measured(serve, opened):
    inferred, dial = answers(STORY, (2, 2)), pl.SteeringWeights(score=0.8, harm_avoidance=0.2)
    with serve(story=story_player(inferred, dial=dial), inferred=inferred) as server:
        page = opened(server)
        page.get_by_role("tab", name="Story").click()
        page.get_by_text("The mix that acts by these weights").click()
        page.get_by_text("it did not serve people better than the inferred weights").wait_for()
        press(page, "Use score 80%, harm avoidance 20%")
        becomes(page, "document.querySelector('#story-dials-0').value === '80'")
    with serve(story=story_player(inferred), inferred=inferred) as server:
        page = opened(server)
        page.get_by_role("tab", name="Story").click()
        page.locator("#options button").first.wait_for()
        assert page.locator("#story-wish").is_hidden()
