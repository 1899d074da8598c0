"""Weights that the server suggests: for a wish, or when a request leaves them to it."""

import threading

import numpy as np
import pytest

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.serve.settings import Limits
from pluralign.steer.suggest import Calibrated
from pluralign.steer.surrogate import fit_surrogate

from .browsing import FRONT, SCALE, becomes, dial, text_of
from .conftest import NAMES

GRID = simplex_grid(NAMES, 2)


def saturating(objectives):
    """A dial whose outcomes rise less and less with the weight."""
    array = np.array([weights.aligned_to(NAMES) for weights in GRID])
    return Calibrated(fit_surrogate(GRID, 1.5 * array - 0.5 * array**2, objectives=objectives))


def asked(server, body, path="/v1/chat/completions"):
    response = server.post(path, **body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture(scope="module")
def provider():
    return saturating(NAMES)


@pytest.fixture(scope="module")
def suggesting(folders, provider):
    from pluralign.serve.service import Service
    from pluralign.steer.policies import load_policies

    from .conftest import serving

    deployment = load_policies("tiny-random", folders, dtype="float32")
    with serving(Service(deployment, Limits(), provider=provider)) as found:
        yield found


def test_a_wish_becomes_weights(suggesting, chat, provider):
    wish = {"one": 0.7, "two": 0.3}
    answer = asked(suggesting, chat(steering_wish=wish))
    expected = provider.suggest([""], SteeringWeights(wish))[0]
    assert answer["steering_weights"] == pytest.approx(dict(expected), abs=1e-12)
    assert answer["steering_weights"]["three"] == 0
    assert answer["steering_weights"] != pytest.approx({**wish, "three": 0.0}, abs=0.01)
    twice = asked(suggesting, chat(steering_wish={"one": 1.4, "two": 0.6}, normalize=True))
    assert twice["steering_weights"] == pytest.approx(answer["steering_weights"])
    responses = {"model": "tiny-random", "input": "a", "steering_wish": wish}
    answer = asked(suggesting, responses, "/v1/responses")
    assert answer["steering_weights"] == pytest.approx(dict(expected), abs=1e-12)


def test_auto_leaves_the_weights_to_the_server(suggesting, chat):
    answer = asked(suggesting, chat(steering_weights="auto"))
    assert list(answer["steering_weights"].values()) == pytest.approx([1 / 3] * 3, abs=1e-3)
    body = {"model": "tiny-random", "prompt": ["a", "b"], "max_tokens": 2, "steering_weights": "auto"}
    assert asked(suggesting, body, "/v1/completions")["steering_weights"] == answer["steering_weights"]


def test_a_wish_for_one_objective_is_its_policy(suggesting, chat):
    answer = asked(suggesting, chat(steering_wish={"two": 1}))
    assert answer["steering_weights"] == {"one": 0, "two": 1, "three": 0}
    plain = asked(suggesting, chat(steering_weights={"two": 1}))
    assert answer["choices"][0]["message"] == plain["choices"][0]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"steering_wish": {"one": 0.5}}, "steering_wish"),
        ({"steering_wish": {"wild": 1}}, "steering_wish"),
        ({"steering_wish": {"one": 1}, "steering_weights": {"one": 1}}, "steering_wish"),
        ({"steering_weights": "automatic"}, "steering_weights"),
        ({"steering_wish": {"one": 1}, "model": "tiny-random@one=1"}, "steering_wish"),
    ],
)
def test_wrong_wishes_are_refused(suggesting, chat, fields, param):
    response = suggesting.post(**chat(**fields))
    assert response.status_code == 400
    assert param in response.json()["error"]["param"]


def test_servers_without_a_provider_know_no_wish(server, chat):
    for fields in ({"steering_wish": {"one": 1}}, {"steering_weights": "auto"}):
        assert server.post(**chat(**fields)).status_code == 400
    assert server.post("/pluralign/suggest").status_code == 404
    assert server.get("/pluralign/config").json()["suggest"] is None


def test_prompts_with_different_suggestions_need_requests_of_their_own(serve, chat):
    class ByLength:
        objectives = tuple(NAMES)

        def suggest(self, prompts, wish=None):
            return [SteeringWeights.one_hot(NAMES[len(prompt) % 2], NAMES) for prompt in prompts]

    with serve(provider=ByLength()) as server:
        body = {"model": "tiny-random", "prompt": ["a", "bb"], "max_tokens": 2, "steering_weights": "auto"}
        response = server.post("/v1/completions", **body)
        assert response.status_code == 400
        assert "one prompt per request" in response.json()["error"]["message"]
        alike = asked(server, {**body, "prompt": ["a", "b"]}, "/v1/completions")
        assert alike["steering_weights"]["two"] == 1
        # A user's message is one prompt, of one message.
        assert asked(server, {"prompt": "bb"}, "/pluralign/suggest") == {
            "steering_weights": {"one": 0, "two": 1, "three": 0}, "predicted": None,
        }  # fmt: skip
        facts = {"predicts": False, "weightings": None, "reads": True}
        assert server.get("/pluralign/config").json()["suggest"] == facts


def test_suggestions_are_for_the_messages_that_the_policies_read(serve, chat):
    class Reading:
        objectives = tuple(NAMES)

        def suggest(self, prompts, wish=None):
            self.read = [dict(message) for message in prompts[0]]
            if not self.read[-1]["content"]:
                raise InputError("prompt 1 has no tokens", field="prompts")
            return [SteeringWeights.uniform(NAMES)]

    provider = Reading()
    with serve(provider=provider) as server:
        parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
        messages = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts, "name": None},
        ]
        asked(server, chat(messages=messages, steering_weights="auto"))
        expected = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
        assert provider.read == expected
        asked(server, {"model": "tiny-random", "input": messages[:1], "steering_weights": "auto",
                       "max_output_tokens": 2}, "/v1/responses")  # fmt: skip
        assert provider.read == expected[:1]
        refused = server.post(**chat("", steering_weights="auto"))
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == "no weights can be suggested: prompt 1 has no tokens"


def test_a_dial_of_other_objectives_is_refused(serve):
    grid = simplex_grid(["a", "b"], 2)
    other = Calibrated(fit_surrogate(grid, [[0, 1], [0.5, 0.5], [1, 0]]))
    with pytest.raises(InputError, match="is for a, b; served are one, two, three"), serve(provider=other):
        pass


def test_the_page_has_dials_of_outcomes(suggesting, opened, provider):
    page = opened(suggesting)
    page.get_by_text("Ask for outcomes").click()
    for name, value in (("one", "60"), ("two", "0")):
        page.get_by_role("group", name="What matters to you").get_by_role("slider", name=name).fill(value)
    becomes(
        page, "document.querySelector('#chat-wish [role=status]').textContent.startsWith('Predicted from')"
    )
    wish = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#chat-wish input[type=number]')]"
        ".map((one, i) => [['one', 'two', 'three'][i], one.value / 100]))"
    )
    expected = provider.suggest([""], SteeringWeights(wish))[0]
    becomes(page, f"Math.abs(document.querySelector('#chat-dials-0').value - {100 * expected['one']}) < 1")
    assert page.locator("#chat-dials-1").input_value() == "0"


def test_the_page_asks_for_weights_of_a_prompt(serve, opened):
    class Careful:
        objectives = tuple(NAMES)

        def suggest(self, prompts, wish=None):
            risky = ["poison" in prompt[-1]["content"] for prompt in prompts]
            return [
                SteeringWeights(one=0.1, two=0.9 if own else 0.0, three=0.0 if own else 0.9) for own in risky
            ]

    with serve(provider=Careful()) as server:
        page = opened(server)
        page.get_by_label("Prompt", exact=True).fill("Is it poison?")
        page.get_by_role("button", name="Suggest weights for this prompt").click()
        becomes(page, "document.querySelector('#chat-dials-1').value == 90")
        assert page.locator("#chat-wish [role=status]").inner_text() == "Suggested: one 10%, two 90%."


SAID = "#chat-wish [role=status]"


def test_predictions_have_the_pages_unit_and_leave_with_their_weights(serve, opened, provider):
    with serve(provider=provider, fronts={"chat": {**FRONT, "scale": SCALE}}) as server:
        page = opened(server)
        page.get_by_text("Ask for outcomes").click()
        hint = text_of(page, SAID)
        page.get_by_role("group", name="What matters to you").get_by_role("slider", name="one").fill("100")
        becomes(page, f"document.querySelector('{SAID}').textContent.startsWith('Predicted from')")
        said = text_of(page, SAID)
        # One, raw, is 20 below the base model's mean, whose standard deviation is 10; three was not swept.
        assert "standard deviations of the base model" in said
        assert "one \N{MINUS SIGN}1.90, two \N{MINUS SIGN}3.00, three (in its own unit) 0.00." in said
        dial(page.locator("#chat-dials"), "two").fill("90")
        assert text_of(page, SAID) == hint


def test_a_suggestion_for_another_prompt_is_not_taken(serve, opened):
    class Slow:
        objectives = tuple(NAMES)
        go = threading.Event()

        def suggest(self, prompts, wish=None):
            self.go.wait(20)
            return [SteeringWeights(one=1.0) for _ in prompts]

    with serve(provider=Slow()) as server:
        page = opened(server)
        ask = page.get_by_role("button", name="Suggest weights for this prompt")
        for change in (
            lambda: page.get_by_label("Prompt", exact=True).fill("another"),
            lambda: dial(page, "two").fill("80"),
        ):
            Slow.go.clear()
            page.get_by_label("Prompt", exact=True).fill("hello")
            ask.click()
            change()
            Slow.go.set()
            page.wait_for_timeout(500)
            assert page.locator("#chat-dials-0").input_value() != "100"
            assert text_of(page, SAID) == ""
