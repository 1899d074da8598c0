"""The page's story in a real browser, and both tabs on a phone and for a screen reader."""

import re

import pytest

from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.serve.story import StoryPlayer

from .browsing import FRONT, MARKUP, becomes, dial
from .conftest import TwoOptions

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


@pytest.mark.parametrize("pressed", ["#options button", "#choose"])
def test_a_choice_that_is_pressed_twice_is_one_choice(serve, toll, opened, pressed):
    with serve(story=toll) as server:
        page = opened(server)
        page.get_by_role("tab", name="Story").click()
        page.locator("#options button").first.wait_for()
        page.evaluate("one => { for (const _ of [1, 2]) document.querySelector(one).click(); }", pressed)
        becomes(page, "document.querySelector('#scene').textContent.includes('Night')")
        becomes(page, "document.activeElement.id === 'scene'")
        assert page.locator("#past summary").inner_text() == "1 choice so far"
        assert not page.locator("#sum").inner_text().startswith("The end")


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
