"""What tests of the page read and wait for."""

import time

SCALE = {"origin": {"one": 20.0, "two": 6.0}, "unit": {"one": 10.0, "two": 2.0}}
FRONT = {
    "objectives": ["one", "two"],
    "points": [
        {"weights": {"one": i / 4, "two": 1 - i / 4}, "returns": {"one": 10.0 * i, "two": 8.0 - i}}
        for i in range(5)
    ],
    "exact_front": [{"one": 0.0, "two": 9.0}, {"one": 40.0, "two": 5.0}],
}
MARKUP = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"


def dial(page, name):
    return page.get_by_role("slider", name=name, exact=True)


def outputs(page, panel="chat"):
    """The weights in percent, as typed."""
    return page.evaluate(f"[...document.querySelectorAll('#{panel} .typed input')].map(e => e.value + ' %')")


def becomes(page, condition, seconds=30.0):
    """Waits until a condition of the page (text) or of the test (function) holds.

    Playwright's own way is one that the page's policy forbids.
    """
    end = time.monotonic() + seconds
    while not (condition() if callable(condition) else page.evaluate(condition)):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def finished(page):
    becomes(page, "document.querySelector('#status').textContent.includes('tokens')")
    return page.locator("#answer").inner_text()


def write(page, text="hello there"):
    page.get_by_label("Prompt", exact=True).fill(text)
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    return finished(page)


def weight(page, name):
    return page.get_by_label(f"Weight of {name} in percent")


def text_of(page, selector):
    return page.evaluate(f"document.querySelector({selector!r}).textContent")


def all_finished(page):
    becomes(
        page, "[...document.querySelectorAll('.card .status')].every(e => e.textContent.includes('tokens'))"
    )
