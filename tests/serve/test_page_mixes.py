"""The page on a desk and on a phone: several mixes, turns, links and code; refusals, undo and reloads."""

import contextlib
import io
import json
import subprocess
import types

import pytest

from pluralign.core import SteeringWeights
from pluralign.serve.app import Service
from pluralign.serve.page import page_response
from pluralign.serve.rewards import AnswerScorers
from pluralign.serve.settings import Limits
from pluralign.steer.policies import load_policies

from .browsing import FRONT, becomes, dial, finished, outputs
from .conftest import Length, own_text, serving

SCALE = {"origin": {"one": 20.0, "two": 6.0}, "unit": {"one": 10.0, "two": 2.0}}


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


def prompt_ids(server, *messages):
    return server.service.deployment.chat_ids(list(messages))


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


def test_answers_stand_side_by_side_the_unsteered_one_too(table, shown):
    page = shown.page
    dial(page, "two").fill("100")
    page.get_by_role("button", name="Pin this mix").click()
    page.get_by_role("button", name="Add equal weights (unsteered)").click()
    assert page.get_by_role("button", name="Add equal weights (unsteered)").is_disabled()
    dial(page, "three").fill("100")
    write(page)
    all_finished(page)
    ids = prompt_ids(table, {"role": "user", "content": "hello there"})
    texts = page.evaluate("[...document.querySelectorAll('.answer')].map(e => e.textContent)")
    assert texts[:2] == [own_text("three", ids, 8), own_text("two", ids, 8)]
    equal = next(one for one in shown.asked if one["steering_weights"]["one"] > 0)
    assert set(equal["steering_weights"].values()) == {1 / 3}
    answer = table.openai.chat.completions.create(
        model="tiny-random", messages=equal["messages"], max_tokens=8, temperature=0
    )
    assert texts[2] == answer.choices[0].message.content.lstrip()
    assert page.locator(".card h2").all_inner_texts()[2] == "UNSTEERED: EQUAL WEIGHTS"
    tops = page.evaluate("[...document.querySelectorAll('.card')].map(e => e.getBoundingClientRect().top)")
    assert (tops[0] == tops[1]) == (shown.width == 1280)
    assert page.evaluate("document.documentElement.scrollWidth") <= shown.width
    # The dials write the answer that follows them, and no other.
    before = len(shown.asked)
    page.get_by_role("button", name="Set the dials to: Pinned mix 1").click()
    becomes(page, f"document.querySelector('#answer').textContent === {json.dumps(texts[1])}")
    all_finished(page)
    assert len(shown.asked) == before + 1
    page.get_by_role("button", name="Remove: Pinned mix 1").click()
    assert page.locator(".card").count() == 2


def test_one_returns_to_earlier_answers(shown):
    page = shown.page
    dial(page, "two").fill("100")
    first = write(page)
    dial(page, "three").fill("100")
    becomes(page, "document.querySelector('#status').textContent.startsWith('three 100%')")
    write(page, "another prompt")
    before = len(shown.asked)
    page.locator("#earlier-count").click()
    assert page.locator("#earlier-list li").count() == 3
    page.locator("#earlier-list button").last.click()
    assert page.locator("#answer").inner_text() == first
    assert page.get_by_label("Prompt", exact=True).input_value() == "hello there"
    assert outputs(page) == ["0 %", "100 %", "0 %"]
    page.wait_for_timeout(400)
    assert len(shown.asked) == before


def test_presets_set_the_dials(shown):
    page = shown.page
    choice = page.get_by_label("Preset")
    choice.select_option("careful")
    assert outputs(page) == ["20 %", "80 %", "0 %"]
    choice.select_option("three alone")
    assert outputs(page) == ["0 %", "0 %", "100 %"]
    dial(page, "one").fill("30")
    assert choice.input_value() == ""


def copied(page, name):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_text("Copied:").wait_for()
    return page.evaluate("navigator.clipboard.readText()")


def test_a_link_holds_prompt_weights_and_seed(table, shown, opened):
    page = shown.page
    page.get_by_label("Preset").select_option("careful")
    page.get_by_label("Seed").fill("17")
    page.get_by_label("Prompt", exact=True).fill("Is 1 + 1 = 2? & more #é")
    link = copied(page, "link")
    assert link.startswith(table.url + "/#")
    other = opened(table)
    sent = []
    other.on("request", lambda r: sent.append(r.url))
    other.goto(link)
    other.reload()
    other.get_by_role("slider").first.wait_for()
    assert other.get_by_label("Prompt", exact=True).input_value() == "Is 1 + 1 = 2? & more #é"
    assert other.get_by_label("Seed").input_value() == "17"
    assert other.get_by_label("Temperature").input_value() == "0"
    assert outputs(other) == ["20 %", "80 %", "0 %"]
    # The fragment has left the address, was never sent, and nothing was written.
    assert "#" not in other.url
    assert not [url for url in sent if "17" in url.removeprefix(table.url) or "completions" in url]
    for fragment, message in (
        ("weights=four=1", "a weight of four"),
        ("weights=one=0.5", "do not sum to 1"),
        ("weights=one=nan", "do not sum to 1"),
        ('turns=[{"role":"system","content":"x"}]', "turns of the link cannot be read"),
        ("turns={", "turns of the link cannot be read"),
    ):
        other.evaluate(f"location.hash = {fragment!r}")
        other.get_by_text(message).wait_for()
        other.get_by_role("button", name="Dismiss").click()
    assert outputs(other) == ["20 %", "80 %", "0 %"]


def test_requests_are_copied_as_curl_and_python(table, shown):
    page = shown.page
    page.get_by_text("System prompt", exact=True).click()
    page.locator("#system").fill('Don\'t "quote" $HOME\nor `this`.')
    dial(page, "two").fill("100")
    write(page, "It's \\ me")
    messages = shown.asked[0]["messages"]
    expected = own_text("two", prompt_ids(table, *messages), 8)
    done = subprocess.run(["sh", "-c", copied(page, "curl")], capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"] == expected
    assert answer["steering_weights"]["two"] == 1
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(copied(page, "Python"), {})
    assert said.getvalue() == expected + "\n"
    # Without a clipboard, the text is there to be copied by hand.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="curl", exact=True).click()
    assert page.get_by_label("Text to copy").input_value().startswith("curl http://127.0.0.1")


def test_a_conversation_has_a_system_prompt_and_several_turns(shown):
    page = shown.page
    page.get_by_text("System prompt", exact=True).click()
    page.locator("#system").fill("Be brief.")
    write(page)
    page.locator("#worth .number").first.wait_for()
    scored = []
    page.on("request", lambda r: scored.append(r.post_data_json) if "rewards" in r.url else None)
    page.get_by_role("button", name="Reply to this answer").click()
    assert text_of(page, "#answer") == ""
    assert page.evaluate("document.activeElement.id") == "prompt"
    write(page, "go on")
    sent = shown.asked[-1]["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "user"]
    assert [sent[i]["content"] for i in (0, 1, 3)] == ["Be brief.", "hello there", "go on"]
    assert sent[2]["content"].lstrip() == text_of(page, "#turns .assistant .prose")
    becomes(page, "document.querySelectorAll('#worth .number').length === 2")
    assert scored[0]["history"] == sent[:3]
    page.get_by_role("button", name="Take back the last turn").click()
    assert page.get_by_label("Prompt", exact=True).input_value() == "hello there"
    assert not page.locator("#conversation").is_visible()


def test_rewards_have_the_sweeps_unit_and_scale(table, shown):
    page = shown.page
    write(page)
    page.locator("#worth .number").first.wait_for()
    characters = len(page.evaluate("JSON.parse(sessionStorage.pluralign).earlier[0].text"))
    numbers = page.locator("#worth .number").all_inner_texts()
    value = (characters - 20) / 10
    assert numbers[0] == f"{value:.2f} ± 0.05".replace("-", "\N{MINUS SIGN}")
    figure = page.locator("#chat-front")
    assert "standard deviations of the base model’s rewards" in figure.inner_text()
    assert "standard deviations of the base model’s rewards" in page.locator("#unit").inner_text()
    # The sweep's range, 0 to 40, is the axis of both pictures.
    ends = page.locator("#worth svg").first.locator("text").all_text_contents()
    assert ends == ["\N{MINUS SIGN}2.00", "2.00"]
    assert {"\N{MINUS SIGN}2.00", "2.00"} <= set(figure.locator("text").all_text_contents())
    low, high = (float(page.locator("#worth .band").first.get_attribute(x)[:-1]) for x in ("x1", "x2"))
    at = float(page.locator("#worth .this").first.get_attribute("cx")[:-1])
    assert at == pytest.approx(low + (high - low) * (value + 2) / 4)


def test_numbers_are_in_the_readers_locale(table, opened):
    page = opened(table, locale="de-DE")
    page.get_by_label("Tokens").fill("8")
    dial(page, "one").fill("100")
    assert "one 2,00, two \N{MINUS SIGN}1,00" in page.locator("#chat-front").inner_text()
    write(page)
    assert page.locator("#status").inner_text().startswith("one 100\N{NO-BREAK SPACE}% · 8 tokens")
    page.get_by_label("Seed").fill("-1")
    assert page.locator("#seed-wrong").inner_text() == "A whole number from 0 to 999.999.999"


def test_the_key_that_writes_is_said(shown):
    assert shown.page.locator("#prompt-hint").inner_text() == "Ctrl+Enter writes the answer"
    assert shown.page.locator("#prompt-hint").is_visible()


def test_the_page_is_one_response():
    page = bytes(page_response().body).decode()
    assert "{{" not in page
    assert (page.count("<script>"), page.count("<style>")) == (1, 1)
