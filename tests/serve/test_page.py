"""The page in a real browser: the dials, the answer that follows them, the front, the keyboard."""

import dataclasses
import re
import time

import pytest

from pluralign.serve.page import page_response
from pluralign.serve.settings import Access

from .browsing import FRONT, MARKUP, becomes, dial, finished, outputs
from .conftest import NAMES, own_text

MOVES = "(dial, values) => values.forEach(v => { dial.value = v; dial.dispatchEvent(new Event('input')); })"
THIRDS = ["34 %", "33 %", "33 %"]


def test_dials_stay_on_the_simplex(server, opened):
    page = opened(server)
    assert outputs(page) == THIRDS
    dial(page, "one").fill("50")
    assert outputs(page) == ["50 %", "25 %", "25 %"]
    dial(page, "two").fill("100")
    assert outputs(page) == ["0 %", "100 %", "0 %"]
    # The others get back the proportions that they had.
    dial(page, "two").fill("61")
    assert outputs(page) == ["26 %", "61 %", "13 %"]
    dial(page, "one").fill("40")
    assert outputs(page) == ["40 %", "49 %", "11 %"]
    page.get_by_role("button", name="equal", exact=True).click()
    assert outputs(page) == THIRDS
    assert dial(page, "two").get_attribute("aria-valuetext") == "33%"


def test_the_keyboard_is_enough(server, opened):
    page = opened(server)
    # Moves in quick succession, however slow the machine is.
    page.evaluate("performance.now = () => 0")
    dial(page, "one").focus()
    page.keyboard.press("End")
    assert outputs(page) == ["100 %", "0 %", "0 %"]
    page.keyboard.press("ArrowLeft")
    assert outputs(page)[0] == "99 %"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "Weight of two in percent"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "chat-dials-1"
    # They are one step.
    page.keyboard.press("Control+z")
    assert outputs(page) == THIRDS
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("hello there")
    page.keyboard.press("Control+Enter")
    assert finished(page)


def test_the_answer_is_the_mixtures_and_follows_the_dials(server, opened):
    page = opened(server)
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if "completions" in r.url else None)
    page.get_by_label("Tokens").fill("12")
    page.get_by_label("Temperature").fill("0")
    dial(page, "two").fill("100")
    page.get_by_label("Prompt", exact=True).fill("hello there")
    page.get_by_role("button", name="Write").click()
    finished(page)
    ids = server.service.deployment.chat_ids([{"role": "user", "content": "hello there"}])
    assert page.evaluate("document.querySelector('#answer').textContent") == own_text("two", ids, 12)
    assert "two 100% · seed 1 · 12 tokens, cut off at the limit" in page.locator("#status").inner_text()
    page.evaluate("document.querySelector('#status').textContent = ''")
    dial(page, "three").fill("100")
    finished(page)
    assert page.evaluate("document.querySelector('#answer').textContent") == own_text("three", ids, 12)
    assert [one["steering_weights"]["two"] for one in asked] == [1, 0]
    assert asked[-1]["steering_weights"] == {"one": 0, "two": 0, "three": 1}


def test_moving_a_dial_cancels_the_request_under_way(serve, opened):
    with serve() as server:
        decoder = server.service.engine._decoder
        step = decoder.step
        decoder.step = lambda: (time.sleep(0.05 * bool(decoder.running)), step())[1]
        page, answers = opened(server), []
        page.on("response", lambda r: answers.append(r) if "completions" in r.url else None)
        page.get_by_label("Tokens").fill("1000")
        page.get_by_label("Prompt", exact=True).fill("hello")
        page.get_by_role("button", name="Write").click()
        becomes(page, "document.querySelector('#answer').textContent.length > 3")
        dial(page, "one").evaluate(MOVES, [10, 30, 50, 70, 90])
        gone = 'pluralign_requests_total{path="/v1/chat/completions",status="499"}'
        assert server.wait_for(lambda found: found.get(gone) == 1)
        # The answer to the last move has begun.
        becomes(page, lambda: len(answers) > 1)
        page.get_by_role("button", name="Stop").click()
        # 1000 tokens would have taken 50 seconds.
        assert server.wait_for(lambda found: found["pluralign_running"] == 0)
        assert page.locator("#status").inner_text() == "Stopped."
        assert server.wait_for(lambda found: found[gone] >= 2)
        # Five moves in a row were one request.
        assert (server.metrics()[gone], len(answers)) == (2, 2)


def test_what_a_model_writes_is_text(serve, opened, chat):
    with serve() as server:
        decoder = server.service.engine._decoder
        step = decoder.step
        decoder.step = lambda: [
            dataclasses.replace(event, text=MARKUP if event.tokens == 2 else "") for event in step()
        ]
        page = opened(server)
        page.get_by_label("Prompt", exact=True).fill("hello")
        page.get_by_label("Tokens").fill("4")
        page.get_by_role("button", name="Write").click()
        assert MARKUP in finished(page)
        assert page.locator("#answer *").count() == 0
        assert page.title() == "pluralign: set the mix"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page_text())


def page_text():
    return bytes(page_response().body).decode()


def test_the_page_needs_nothing_from_elsewhere():
    page = page_text()
    assert re.findall(r"https?://[^\"'\s]+", page) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<(link|script|img|iframe)[^>]+(src|href)=\"(?!data:)", page)
    # The policy allows neither.
    assert not re.search(r"\sstyle=|\son\w+=", page)


def test_rewards_and_the_front_are_drawn(serve, rewards, opened):
    with serve(rewards=rewards, fronts={"chat": FRONT}) as server:
        page = opened(server)
        figure = page.locator("#chat-front")
        assert figure.locator("circle").count() == 6
        assert "nearest measured mix" in figure.inner_text()
        before = figure.locator("circle").last.get_attribute("cx")
        dial(page, "one").fill("100")
        assert float(figure.locator("circle").last.get_attribute("cx")) > float(before)
        assert "one 40.0, two 4.00" in figure.inner_text()
        page.get_by_label("Prompt", exact=True).fill("hello")
        page.get_by_label("Tokens").fill("8")
        page.get_by_label("Temperature").fill("0")
        page.get_by_role("button", name="Write").click()
        length = len(finished(page))
        page.locator("#worth .number").first.wait_for()
        numbers = page.locator("#worth .number").all_inner_texts()
        assert len(numbers) == 2
        assert all("± 0.50" in number for number in numbers)
        assert numbers[1] == f"\N{MINUS SIGN}{numbers[0]}"
        assert 0 < length <= 8
        dial(page, "two").fill("100")
        becomes(page, "document.querySelectorAll('#worth circle').length === 6")


def test_between_two_mixes_the_ring_lies_between(serve, folders, opened):
    from pluralign.serve.app import Service
    from pluralign.serve.settings import Limits
    from pluralign.steer.policies import load_policies

    from .conftest import serving

    two = {name: folders[name] for name in NAMES[:2]}
    with serving(
        Service(load_policies("tiny-random", two, dtype="float32"), Limits(), fronts={"chat": FRONT})
    ) as server:
        page = opened(server)
        dial(page, "one").fill("35")
        assert outputs(page) == ["35 %", "65 %"]
        assert "(between measured mixes): one 14.0, two 6.60" in page.locator("#chat-front").inner_text()
        dial(page, "one").fill("75")
        assert "(measured): one 30.0, two 5.00" in page.locator("#chat-front").inner_text()
        dial(page, "one").fill("0")
        assert "(measured): one 0.00, two 8.00" in page.locator("#chat-front").inner_text()
        dial(page, "one").fill("100")
        assert "(measured): one 40.0, two 4.00" in page.locator("#chat-front").inner_text()


def test_a_token_is_asked_for(serve, opened):
    with serve(access=Access(token="open-sesame")) as server:
        page = opened(server)
        field = page.get_by_label("Token", exact=True)
        field.fill("wrong")
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("This token is wrong.").wait_for()
        field.fill("open-sesame")
        page.get_by_role("button", name="Enter").click()
        page.get_by_label("Prompt", exact=True).fill("hello")
        page.get_by_label("Tokens").fill("4")
        page.get_by_role("button", name="Write").click()
        assert finished(page)
        assert not page.locator("#error").is_visible()


def test_a_front_of_three_objectives_is_drawn_by_its_two_axes(serve, opened):
    rows = [{"one": 0.0, "two": 2.0, "three": 1.0}, {"one": 1.0, "two": 0.0, "three": 3.0}]
    rows += [{"one": 2.0, "two": 1.0, "three": 0.0}]
    points = [{"weights": {name: 1.0}, "returns": row} for name, row in zip(NAMES, rows, strict=True)]
    with serve(fronts={"chat": {"objectives": NAMES, "points": points, "exact_front": rows}}) as server:
        page = opened(server)
        # The second is the best in the third objective, and beaten in the two that are drawn.
        assert "no other mix dominates in these two objectives" in page.locator("#chat-front").inner_text()
        assert len(page.locator("#chat-front polyline").get_attribute("points").split()) == 2
        assert page.locator("#chat-front path[stroke-dasharray]").get_attribute("d").count("V") == 1


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_errors_are_told(serve, opened, browser):
    with serve() as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.get_by_label("Prompt", exact=True).fill("x" * 5000)
        page.get_by_role("button", name="Write").click()
        page.get_by_text("maximum context length is 4096 tokens").wait_for()
        assert page.locator("#error").get_attribute("role") == "alert"
        page.route("**/v1/**", lambda route: route.abort())
        page.get_by_label("Prompt", exact=True).fill("x")
        page.get_by_role("button", name="Write").click()
        page.get_by_text("The server does not respond.").wait_for()
        context.close()
