"""The page at two widths: several mixes, earlier answers, turns, links, code, and the unit of rewards."""

import contextlib
import io
import json
import subprocess

import pytest

from .browsing import all_finished, becomes, dial, outputs, text_of, write
from .conftest import own_text


def prompt_ids(server, *messages):
    return server.service.deployment.chat_ids(list(messages))


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
    # Three in one row, or one below the other.
    assert len(set(tops)) == (1 if shown.width == 1280 else 3)
    assert page.evaluate("document.documentElement.scrollWidth") <= shown.width
    # The dials write the answer that follows them, and no other.
    before = len(shown.asked)
    page.get_by_role("button", name="Set the dials to: Pinned mix 1").click()
    becomes(page, f"document.querySelector('#answer').textContent === {json.dumps(texts[1])}")
    all_finished(page)
    assert len(shown.asked) == before + 1
    page.get_by_role("button", name="Remove: Pinned mix 1").click()
    assert page.locator(".card").count() == 2


def test_each_answer_says_its_seed(shown):
    page = shown.page
    dial(page, "two").fill("100")
    write(page)
    page.get_by_role("button", name="Pin this mix").click()
    page.get_by_label("Seed").fill("17")
    # The live answer is of the new seed, beside a pinned one of the old seed.
    dial(page, "three").fill("100")
    becomes(page, "document.querySelector('#status').textContent.startsWith('three 100%')")
    all_finished(page)
    found = page.evaluate("[...document.querySelectorAll('.card .status')].map(e => e.textContent)")
    assert [one.split(" · ")[1] for one in found] == ["seed 17", "seed 1"]
    assert [one["seed"] for one in shown.asked] == [1, 17]


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
        ('turns=[{"role":"user","content":"x"}]', "turns of the link cannot be read"),
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
