"""The page in a real browser: the dials, the answer that follows them, the front, the story, the keyboard."""

import dataclasses
import re
import time

import pytest

from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.serve.page import page_response
from pluralign.serve.settings import Access
from pluralign.serve.story import StoryPlayer

from .browsing import FRONT, becomes, dial, finished, outputs
from .conftest import NAMES, TwoOptions, own_text

MOVES = "(dial, values) => values.forEach(v => { dial.value = v; dial.dispatchEvent(new Event('input')); })"
THIRDS = ["34 %", "33 %", "33 %"]
MARKUP = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"
STORY = f"""*title The Toll
*author pluralign
*comment pluralign {{"story": {{"summary": "A bridge.", "player_character": "The keeper."}}}}
*achievement coin visible 100 Coin
  Take it.
  Taken.
*scene_list
  startup
The carter offers {MARKUP} a coin.
*choice
  #Take it {MARKUP}
    *comment pluralign {{}}
    *achieve coin
    *goto night
  #Wave him through.
    *comment pluralign {{"violations": ["promises"]}}
    *goto night
*label night
Night.
*choice
  #Sleep.
    *comment pluralign {{}}
    *finish
  #Wake.
    *comment pluralign {{}}
    *finish
"""


@pytest.fixture(scope="module")
def toll(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories") / "toll"
    folder.mkdir()
    (folder / "startup.txt").write_text(STORY, encoding="utf-8")
    story = load_story(str(folder))
    policies = {"score": TwoOptions("a", 0), "harm_avoidance": TwoOptions("b", 1)}
    return StoryPlayer(lambda: ChoiceScriptGame(story), policies)


def spaced(text):
    """As a browser shows it."""
    return re.sub(r"\s+", " ", text).strip()


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
    assert "two 100% · 12 tokens, cut off at the limit" in page.locator("#status").inner_text()
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


def test_the_storys_choices_shift_as_the_dials_turn(serve, toll, opened):
    with serve(story=toll) as server:
        page = opened(server)
        tab = page.get_by_role("tab", name="Chat")
        tab.focus()
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("tab", name="Story").get_attribute("aria-selected") == "true"
        assert not page.locator("#chat").is_visible()
        shares = page.locator("#options .share")
        shares.first.wait_for()
        assert shares.all_inner_texts() == ["50%", "50%"]
        dial(page, "score").fill("100")
        becomes(page, "document.querySelector('#options .share').textContent === '89%'")
        label = page.locator("#options button").first.get_attribute("aria-label")
        assert label.endswith("Taken with 89%; score alone 89%, harm avoidance alone 11%")
        dial(page, "harm avoidance").fill("100")
        becomes(page, "document.querySelector('#options .share').textContent === '11%'")
        # What a story says is text, too.
        assert MARKUP in page.locator("#scene").inner_text()
        assert page.locator("#options b").count() == page.locator("#scene *").count() == 0
        dial(page, "score").fill("100")
        becomes(page, "document.querySelector('#options .share').textContent === '89%'")
        page.get_by_role("button", name="Let it choose").click()
        becomes(page, "document.querySelector('#scene').textContent.includes('Night')")
        becomes(page, "document.activeElement.id === 'scene'")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent").startswith("Sleep.")
        assert spaced(page.locator("#sum").inner_text()) == "So far: score 100 harm avoidance 0"
        page.get_by_role("button", name="Back").click()
        becomes(page, "document.querySelector('#scene').textContent.includes('carter')")
        page.get_by_role("button", name="Wave him through").click()
        becomes(page, "document.querySelector('#scene').textContent.includes('Night')")
        assert "harm avoidance \N{MINUS SIGN}1" in spaced(page.locator("#sum").inner_text())
        page.get_by_role("button", name="Sleep").click()
        becomes(page, "document.querySelector('#sum').textContent.startsWith('The end')")
        assert page.get_by_role("button", name="Let it choose").is_disabled()
        page.get_by_role("button", name="Begin again").click()
        becomes(page, "document.querySelector('#scene').textContent.includes('carter')")
        assert page.title() == "pluralign: set the mix"


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


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_all_of_it(serve, toll, rewards, opened, width):
    with serve(story=toll, rewards=rewards, fronts={"chat": FRONT}) as server:
        page = opened(server, viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
        for tab in ("Chat", "Story"):
            page.get_by_role("tab", name=tab).click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            heights = page.evaluate(
                "[...document.querySelectorAll('.panel:not([hidden]) button:not(.plain)')]"
                ".map(b => b.getBoundingClientRect().height)"
            )
            assert min(heights) >= 40


def test_all_that_is_used_has_a_name(serve, toll, opened):
    """Every control has an accessible name, and every name one control."""
    with serve(story=toll) as server:
        page = opened(server)
        for tab in ("Chat", "Story"):
            page.get_by_role("tab", name=tab).click()
            page.locator("#options button" if tab == "Story" else "#prompt").first.wait_for()
            nameless = page.evaluate(
                "[...document.querySelectorAll('.panel:not([hidden]) :is(input, textarea, button)')]"
                ".filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length"
            )
            assert nameless == 0
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
