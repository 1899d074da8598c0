"""The page at two widths: what is refused, shown, undone and kept."""

import pytest

from pluralign.serve.page import page_response

from .browsing import all_finished, dial, outputs, text_of, weight, write


@pytest.mark.filterwarnings("default::ResourceWarning")
@pytest.mark.parametrize("width", [1280, 390])
def test_errors_are_seen_wherever_one_has_scrolled(table, browser, width):
    context = browser.new_context(viewport={"width": width, "height": 500})
    page = context.new_page()
    page.goto(table.url)
    page.get_by_label("Tokens").fill("8")
    write(page)
    page.route("**/v1/**", lambda route: route.abort())
    page.evaluate("document.querySelector('#another').click()")
    page.get_by_text("The server does not respond.").wait_for()
    for place in ("0", "document.body.scrollHeight"):
        page.evaluate(f"scrollTo(0, {place})")
        box = page.locator("#error").bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= 500
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
        middle = f"{box['x'] + 8}, {box['y'] + box['height'] / 2}"
        assert page.evaluate(f"document.elementFromPoint({middle}).closest('#error') !== null")
    # The answer to the failed request is not the earlier one.
    assert text_of(page, "#answer") == ""
    page.get_by_role("button", name="Dismiss").click()
    assert not page.locator("#error").is_visible()
    context.close()


def test_an_old_answer_never_stands_under_a_new_prompt(shown):
    page = shown.page
    page.get_by_role("button", name="Add equal weights").click()
    write(page)
    all_finished(page)
    for field in (page.get_by_label("Prompt", exact=True), page.locator("#system")):
        if not field.is_visible():
            page.get_by_text("System prompt", exact=True).click()
        field.press_sequentially("!")
        assert page.locator(".answer").all_inner_texts() == ["", ""]
        assert page.locator("#worth *").count() == 0
        before = len(shown.asked)
        # The dials write nothing until the new prompt is written to.
        dial(page, "one").fill("90")
        page.wait_for_timeout(400)
        assert len(shown.asked) == before
        page.get_by_role("button", name="Write").click()
        all_finished(page)
    assert [one["content"] for one in shown.asked[-1]["messages"]] == ["!", "hello there!"]


def test_a_wrong_number_is_refused_in_its_field(shown):
    page = shown.page
    page.get_by_label("Prompt", exact=True).fill("hello")
    for field, values, message in (
        (page.get_by_label("Tokens"), ("0", "1.5", "513", ""), "A whole number from 1 to 512"),
        (page.get_by_label("Temperature"), ("2.1", "-1", ""), "A number from 0 to 2"),
        (page.get_by_label("Seed"), ("-1", "0.5"), "A whole number from 0 to 999,999,999"),
        (weight(page, "two"), ("100.5", "-1", ""), "A number from 0 to 100"),
    ):
        right = field.input_value()
        for value in values:
            field.fill(value)
            page.get_by_label("Prompt", exact=True).press("Control+Enter")
            assert field.get_attribute("aria-invalid") == "true"
            note = page.locator(f"#{field.get_attribute('aria-describedby')}")
            assert note.inner_text() == message
            assert note.is_visible()
            assert field.evaluate("e => e === document.activeElement")
        field.fill(right)
        assert field.get_attribute("aria-invalid") is None
        assert note.inner_text() == ""
    assert shown.asked == []
    page.get_by_label("Temperature").fill("0.75")
    write(page, "hello")
    assert shown.asked[0]["temperature"] == 0.75


def test_percentages_sum_to_100_and_weights_are_typed(shown):
    page = shown.page
    for name, typed, expected in (
        ("one", "50", ["50 %", "25 %", "25 %"]),
        ("two", "33", ["45 %", "33 %", "22 %"]),
        ("three", "12.5", ["50.3 %", "37.2 %", "12.5 %"]),
        ("one", "100", ["100 %", "0 %", "0 %"]),
        ("one", "0", ["0 %", "75 %", "25 %"]),
    ):
        weight(page, name).fill(typed)
        weight(page, name).press("Enter")
        assert sum(float(one[:-2]) for one in outputs(page)) == 100
        assert outputs(page) == expected
    assert page.evaluate("rounded([1, 1, 1, 1, 1, 1, 1])") == [0.15, 0.15, *[0.14] * 5]
    assert page.evaluate("rounded([0.005, 0.005, 0.99])") == [0.01, 0, 0.99]
    assert page.evaluate("described({one: 1, two: 1, three: 1})") == "one 34%, two 33%, three 33%"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_number_of_objectives_has_its_colour(table, opened, scheme):
    page = opened(table, color_scheme=scheme)
    found = page.evaluate("""() => {
        const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
        const seen = name => {
            const one = make("i", {}); one.style.color = name; document.body.append(one);
            paint.fillStyle = getComputedStyle(one).color; paint.fillRect(0, 0, 1, 1); one.remove();
            return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        return [seen("var(--card)"), ...Array.from({length: 16}, (_, i) => seen(colour(i)))];
    }""")

    def luminance(colour):
        linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    card, *colours = found
    for i, one in enumerate(colours):
        high, low = sorted((luminance(one), luminance(card)), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 3
        assert all(max(abs(a - b) for a, b in zip(one, other, strict=True)) > 12 for other in colours[:i])


def test_moves_are_undone(shown):
    page = shown.page
    undo = page.get_by_role("button", name="undo")
    assert undo.is_disabled()
    dial(page, "one").fill("80")
    dial(page, "two").fill("100")
    page.get_by_role("button", name="equal", exact=True).click()
    for expected in (["0 %", "100 %", "0 %"], ["80 %", "10 %", "10 %"], ["34 %", "33 %", "33 %"]):
        undo.click()
        assert outputs(page) == expected
    assert undo.is_disabled()


def test_a_reload_keeps_prompt_mix_and_answers(shown):
    page = shown.page
    dial(page, "one").fill("80")
    page.get_by_role("button", name="Pin this mix").click()
    dial(page, "one").fill("60")
    page.get_by_label("Seed").fill("5")
    write(page)
    all_finished(page)
    page.get_by_role("button", name="Reply to this answer").first.click()
    page.get_by_label("Prompt", exact=True).fill("and then?")
    page.reload()
    page.locator("#turns li").first.wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == "and then?"
    assert page.get_by_label("Seed").input_value() == "5"
    assert outputs(page) == ["60 %", "20 %", "20 %"]
    assert page.locator(".card h2").all_inner_texts() == ["ANSWER", "PINNED MIX 1"]
    assert page.locator("#turns li").count() == 2
    assert page.locator("#earlier-count").inner_text() == "Earlier answers (2)"
    # Other objectives, other weights: nothing of them is taken over.
    page.evaluate("saved.write({objectives: ['one', 'two']})")
    page.reload()
    page.locator(".panel:not([hidden])").wait_for()
    assert outputs(page) == ["34 %", "33 %", "33 %"]


@pytest.mark.parametrize("width", [320, 390])
def test_100_percent_fits_on_a_phone(table, opened, width):
    page = opened(table, viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    weight(page, "two").fill("100")
    weight(page, "two").press("Enter")
    row = page.locator("#chat-dials .dial").nth(1)
    assert row.locator("input[type=number]").evaluate("e => e.scrollWidth <= e.clientWidth")
    sign = row.locator(".typed span").bounding_box()
    slider = dial(page, "two").bounding_box()
    assert sign["x"] + sign["width"] <= width - 10
    assert slider["x"] + slider["width"] < row.locator("input[type=number]").bounding_box()["x"]
    assert abs(sign["y"] - slider["y"]) < 20


def test_numbers_are_in_the_readers_locale(table, opened):
    page = opened(table, locale="de-DE")
    page.get_by_label("Tokens").fill("8")
    dial(page, "one").fill("100")
    assert "one 2,00, two \N{MINUS SIGN}1,00" in page.locator("#chat-front").inner_text()
    write(page)
    assert page.locator("#status").inner_text().startswith("one 100\N{NO-BREAK SPACE}% · seed 1 · 8 tokens")
    page.get_by_label("Seed").fill("-1")
    assert page.locator("#seed-wrong").inner_text() == "A whole number from 0 to 999.999.999"


def test_the_key_that_writes_is_said(shown):
    assert shown.page.locator("#prompt-hint").inner_text() == "Ctrl+Enter writes the answer"
    assert shown.page.locator("#prompt-hint").is_visible()


def test_the_page_is_one_response():
    page = bytes(page_response().body).decode()
    assert "{{" not in page
    assert (page.count("<script>"), page.count("<style>")) == (1, 1)
