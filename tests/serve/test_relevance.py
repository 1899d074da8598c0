"""Weights by what is at stake in a prompt, for requests that ask for it."""

import numpy as np
import pytest

from pluralign.core import InputError, Objective
from pluralign.core.errors import ServerError
from pluralign.serve.relevance import RequestRelevance
from pluralign.steer.relevance import Relevance

from .browsing import write
from .conftest import NAMES

AIMS = [Objective(name, f"{name} matters.") for name in ("one", "two")]


class Mentioned:
    """An objective is at stake if the prompt names it."""

    name = "mentioned"

    def at_stake(self, prompts, principles):
        self.read = list(prompts)
        return np.array([[float(p.split()[0] in text) for p in principles] for text in prompts])


@pytest.fixture
def relevance():
    return RequestRelevance(Relevance(Mentioned(), AIMS), NAMES)


WEIGHTS = {"one": 0.5, "two": 0.25, "three": 0.25}
FACTORS = {"one": 1.0, "two": 0.1}
WEIGHED = {"one": 0.5 / 0.775, "two": 0.025 / 0.775, "three": 0.25 / 0.775}


def test_answers_have_the_weights_of_the_prompt_and_report_the_factors(serve, chat, relevance):
    with serve(relevance=relevance) as server:
        body = chat("about one", steering_weights=WEIGHTS, steering_relevance=True)
        found = server.post(**body).json()
        assert found["steering_weights"] == pytest.approx(WEIGHED)
        assert found["steering_relevance"] == FACTORS
        plain = server.post(**chat("about one", steering_weights=found["steering_weights"])).json()
        assert found["choices"] == plain["choices"]
        assert "steering_relevance" not in plain
        # The other APIs, a stream, and messages in parts.
        common = {"model": "tiny-random", "steering_weights": WEIGHTS, "steering_relevance": True}
        text = server.post("/v1/completions", prompt="about one", max_tokens=2, **common).json()
        response = server.post("/v1/responses", input="about one", max_output_tokens=2, **common).json()
        parts = [{"role": "user", "content": [{"type": "text", "text": "about one"}]}]
        split = server.post(messages=parts, max_tokens=2, **common).json()
        assert (
            text["steering_relevance"]
            == response["steering_relevance"]
            == split["steering_relevance"]
            == FACTORS
        )
        extra = {name: body.pop(name) for name in ("steering_weights", "steering_relevance")}
        stream = server.openai.chat.completions.create(**body, extra_body=extra, stream=True)
        assert all(chunk.steering_relevance == FACTORS for chunk in stream)
        assert server.get("/pluralign/config").json()["relevance"] == {
            "name": "mentioned",
            "objectives": ["one", "two"],
        }


def test_what_a_developer_says_is_the_systems(serve, chat):
    estimator = Mentioned()
    with serve(relevance=RequestRelevance(Relevance(estimator, AIMS), NAMES)) as server:
        messages = [{"role": "developer", "content": "one"}, {"role": "user", "content": "Hello."}]
        assert server.post(**chat(messages=messages, steering_relevance=True)).status_code == 200
        assert estimator.read == ["system: one\n\nuser: Hello."]


def test_nothing_changes_for_requests_that_do_not_ask(serve, chat, relevance):
    with serve(relevance=relevance) as server:
        for given in ({}, {"steering_relevance": False}, {"steering_relevance": None}):
            found = server.post(**chat("about one", steering_weights=WEIGHTS, **given)).json()
            assert found["steering_weights"] == WEIGHTS
            assert "steering_relevance" not in found


def test_several_prompts_and_token_ids_are_refused(serve, relevance):
    with serve(relevance=relevance) as server:
        for prompt in (["a", "b"], [5, 6]):
            refused = server.post(
                "/v1/completions", model="tiny-random", prompt=prompt, max_tokens=2, steering_relevance=True
            )
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "steering_relevance"


def test_a_server_without_it_says_so(server, chat):
    refused = server.post(**chat(steering_relevance=True))
    assert refused.status_code == 400
    assert "serve --relevance" in refused.json()["error"]["message"]
    assert server.get("/pluralign/config").json()["relevance"] is None


class Failing:
    name = "failing"

    def __init__(self, error):
        self.error = error

    def at_stake(self, prompts, principles):
        raise self.error


def test_an_estimator_that_fails_is_reported_without_addresses(serve, chat):
    for error, status, words in (
        (ServerError("http://10.0.0.1 is down"), 502, "try again later"),
        (InputError("the rewards are not numbers"), 400, "not numbers"),
    ):
        with serve(relevance=RequestRelevance(Relevance(Failing(error), AIMS), NAMES)) as server:
            refused = server.post(**chat(steering_relevance=True))
            assert refused.status_code == status
            assert words in refused.json()["error"]["message"]
            assert "10.0.0.1" not in refused.text
            assert server.post(**chat()).status_code == 200


def test_objectives_that_are_not_served_are_refused():
    with pytest.raises(InputError, match="'two' is not served; served are one"):
        RequestRelevance(Relevance(Mentioned(), AIMS), ("one",))


def test_the_page_shows_the_factors(serve, opened, relevance):
    with serve(relevance=relevance) as server:
        page = opened(server)
        page.get_by_label("Tokens").fill("4")
        page.get_by_label("Weigh by what is at stake").check()
        write(page, "about one")
        page.locator("#status", has_text="at stake: two × 0.1").wait_for()
