"""Several answers under inferred weights: whether the weights decide between them."""

import pytest

import pluralign as pl
from pluralign.serve.app import Service
from pluralign.serve.submission import QueueFull

from .test_inferred import answers

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def undecided():
    """Weights before the first answer."""
    return answers(NAMES, (0, 0))


def values_of(server, prompts, texts):
    """Log-probability of each text after its prompt under each policy, by the scores of texts of the API."""
    encode = server.service.deployment.tokenizer.encode
    found = []
    for prompt, text in zip(prompts, texts, strict=True):
        start = encode(prompt)
        body = {"model": "tiny-random", "prompt": start + encode(text), "echo": True, "max_tokens": 0}
        own = {}
        for name in NAMES:
            answer = server.post("/v1/completions", **body, logprobs=0, steering_weights={name: 1.0}).json()
            own[name] = sum(answer["choices"][0]["logprobs"]["token_logprobs"][len(start) :])
        found.append(own)
    return found


def preferring_one():
    """Weights of a person who always takes what is good by the first objective alone."""
    values = ({"one": 1.0, "two": 0.0, "three": 0.0}, {"one": 0.0, "two": 1.0, "three": 1.0})
    choice = pl.Choice(pl.Question(pl.Decision("", ("a", "b")), values), 0, weight=1000.0)
    return pl.infer_weights([choice], NAMES, scales=dict.fromkeys(NAMES, 1.0))


@pytest.mark.parametrize("sure", [False, True])
def test_several_answers_say_whether_weights_decide(serve, undecided, sure):
    inferred = preferring_one() if sure else undecided
    with serve(inferred=inferred) as server:
        body = {"model": "tiny-random", "prompt": ["ab", "cd"], "n": 2, "max_tokens": 4, "seed": 3}
        found = server.post("/v1/completions", **body).json()
        texts = [choice["text"] for choice in found["choices"]]
        assert len(set(texts)) == 4
        assert {choice["finish_reason"] for choice in found["choices"]} == {"length"}
        values, left = values_of(server, ["ab", "ab", "cd", "cd"], texts), []
        for first in (0, 2):
            options = pl.Decision("", tuple(texts[first : first + 2]))
            verdict = pl.decide(inferred, pl.Question(options, tuple(values[first : first + 2])))
            left += [first + place for place in verdict.undominated]
        assert found["undominated"] == left
        assert found["decided"] == (len(left) == 2)
        assert found["decided"] == sure


def test_answers_that_fill_the_context_are_compared(serve, undecided):
    with serve(inferred=undecided) as server:
        prompt = [5, 6, 7, 8] * (server.service.deployment.context // 4)
        body = {"model": "tiny-random", "prompt": prompt[:-2], "n": 2, "max_tokens": 2, "seed": 3}
        found = server.post("/v1/completions", **body).json()
    assert {choice["finish_reason"] for choice in found["choices"]} == {"length"}
    assert found["decided"] is not None


def test_an_end_that_nobody_wrote_does_not_count(serve, undecided, monkeypatch):
    asked = []

    def decide(inferred, question):
        asked.append(question)
        return pl.decide(inferred, question)

    monkeypatch.setattr("pluralign.serve.verdicts.decide", decide)
    with serve(inferred=undecided) as server:
        body = {
            "model": "tiny-random",
            "prompt": "ab",
            "n": 2,
            "max_tokens": 60,
            "seed": 1,
            "temperature": 1.5,
        }
        found = server.post("/v1/completions", **body, stop=["e", "a", "5", "#"]).json()
        assert {choice["finish_reason"] for choice in found["choices"]} == {"stop"}
        texts = [choice["text"] for choice in found["choices"]]
        for own, expected in zip(asked[0].values, values_of(server, ["ab"] * 2, texts), strict=True):
            assert own == pytest.approx(expected)


def test_equal_answers_leave_nothing_to_decide(serve, chat, undecided):
    with serve(inferred=undecided) as server:
        found = server.post(**chat(n=3, temperature=0)).json()
        assert found["decided"] is True
        assert found["undominated"] == [0, 1, 2]


def test_nothing_is_said_without_a_comparison(serve, chat, undecided):
    own = {"one": 0.5, "two": 0.5}
    with serve(inferred=undecided) as server:
        for body in (chat(), chat(n=2, steering_weights=own), {**chat(n=2), "model": "tiny-random@one=1"}):
            assert not {"decided", "undominated"} & set(server.post(**body).json())
        assert '"decided"' not in server.post(**chat(n=2, stream=True)).text
    with serve() as server:
        assert "decided" not in server.post(**chat(n=2)).json()


def test_a_verdict_that_cannot_be_had_is_null(serve, chat, undecided, monkeypatch):
    with serve(inferred=undecided) as server:
        engine, submit = server.service.engine, server.service.engine.submit

        def full(requests, again=False):
            if requests[0].prompt_log_probs:
                raise QueueFull
            return submit(requests, again)

        monkeypatch.setattr(engine, "submit", full)
        found = server.post(**chat(n=2)).json()
        assert found["decided"] is None
        assert found["undominated"] == [0, 1]
        assert len(found["choices"]) == 2


def test_other_means_than_the_geometric_say_nothing(undecided, folders):
    deployment = pl.load_policies("tiny-random", folders, dtype="float32", power=1.0)
    assert Service(deployment, inferred=undecided).verdicts is None


def test_the_document_describes_what_answers_may_have(server):
    document = server.get("/openapi.json").json()
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
        answer = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert {"steering_intervals", "steering_relevance"} <= set(answer["properties"])
        assert not {"steering_intervals", "decided"} & set(answer["required"])
