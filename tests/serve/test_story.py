"""The story's tab and the rewards: what the agent would choose, and what an answer is worth."""

import math

import pytest

from .test_refusals import refused

PLAY = "/pluralign/story/play"


@pytest.fixture
def table(serve, story_table, rewards):
    with serve(story=story_table, rewards=rewards) as server:
        yield server


def test_the_story_is_described(table):
    found = table.get("/pluralign/story").json()
    assert found["name"] == "salt_ledger"
    assert [objective["name"] for objective in found["objectives"]] == ["score", "harm_avoidance"]
    assert table.get("/pluralign/config").json()["story"] == found


def test_probabilities_shift_as_the_dials_turn(table):
    def mixed(score):
        weights = {"score": score, "harm_avoidance": 1 - score}
        found = table.post(PLAY, actions=[], steering_weights=weights).json()
        assert found["steering_weights"] == weights
        assert math.isclose(sum(found["mixed"]), 1)
        assert len(found["options"]) == len(found["mixed"])
        return found

    first, middle, last = mixed(1.0), mixed(0.5), mixed(0.0)
    assert first["mixed"] == pytest.approx(first["probabilities"]["score"])
    assert last["mixed"] == pytest.approx(last["probabilities"]["harm_avoidance"])
    assert first["mixed"][0] > middle["mixed"][0] > last["mixed"][0]
    # Policies without weight are shown, too.
    assert first["probabilities"] == last["probabilities"]
    # Of 8 : 1 and 1 : 8, the geometric mean is 1 : 1.
    assert middle["mixed"][0] == pytest.approx(middle["mixed"][-1])


def test_a_story_is_played_to_its_end(table):
    actions, texts = [], []
    for _ in range(200):
        found = table.post(PLAY, actions=actions).json()
        assert [step["text"] for step in found["taken"]] == texts
        if found["ended"]:
            break
        texts.append(found["text"])
        actions.append(0)
    assert found["ended"]
    assert found["options"] == found["mixed"] == []
    assert len(actions) > 2
    assert found["returns"]["score"] > 0
    error = refused(table.post(PLAY, actions=[*actions, 0]))
    assert "no decision" in error["message"]


def test_what_cannot_be_played(table):
    for body, message in (
        ({}, "'actions' is missing"),
        ({"actions": [7]}, "actions"),
        ({"actions": ["a"]}, "'actions[0]' must be an integer"),
        ({"actions": [0] * 501}, "'actions' must be an array of 0 to 500"),
        (
            {"actions": [], "steering_weights": {"one": 1}},
            "unknown objective 'one'; known: score, harm_avoid",
        ),
        ({"actions": [], "steering_weights": {"score": 0.4}}, "must sum to 1"),
        ({"actions": [], "more": 1}, "unknown field 'more'"),
    ):
        assert message in refused(table.post(PLAY, **body))["message"]


def test_rewards_of_an_answer(table):
    found = table.post("/pluralign/rewards", prompt="how?", answer="so").json()
    assert found == {"rewards": {"one": {"reward": 2.0, "sigma": 0.5}, "two": {"reward": -2.0, "sigma": 0.5}}}
    assert table.get("/pluralign/config").json()["rewards"] == ["one", "two"]
    for body, message in (
        ({"prompt": "a"}, "'answer' is missing"),
        ({"prompt": 1, "answer": "a"}, "'prompt' must be a string"),
        ({"prompt": "a", "answer": "a", "history": [{"role": "user"}]}, "'history[0].content' is missing"),
        (
            {"prompt": "a", "answer": "a", "history": [{"role": "user", "content": "a" * 50_000}]},
            "more than 50000",
        ),
        ({"prompt": "a" * 40_000, "answer": "a" * 20_000}, "more than 50000 characters"),
    ):
        assert message in refused(table.post("/pluralign/rewards", **body))["message"]


def test_rewards_are_given_the_turns_before_the_prompt(serve, rewards):
    seen, render = [], rewards._scorers["one"].render
    rewards._scorers["one"].render = lambda messages, opens: (
        seen.append(list(messages)),
        render(messages, opens),
    )[1]
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    with serve(rewards=rewards) as server:
        server.post("/pluralign/rewards", prompt="how?", answer="so", history=history)
    assert [*history, {"role": "user", "content": "how?"}] in seen


def test_a_reward_that_is_no_number_is_null(serve, rewards):
    rewards._scorers["one"]._sign = math.nan
    with serve(rewards=rewards) as server:
        found = server.post("/pluralign/rewards", prompt="how?", answer="so").json()["rewards"]
        assert found["one"]["reward"] is None
        assert found["two"]["reward"] == -2.0


def test_a_mistake_of_the_server_is_told_as_such(serve, rewards, caplog):
    def broken(messages, opens):
        raise RuntimeError("something within")

    rewards._scorers["one"].render = broken
    with serve(rewards=rewards) as server:
        error = refused(server.post("/pluralign/rewards", prompt="how?", answer="so"), 500)
        assert (error["type"], error["message"]) == ("server_error", "internal server error")
        assert server.metrics()['pluralign_requests_total{path="/pluralign/rewards",status="500"}'] == 1
    assert [record.getMessage() for record in caplog.records] == ["RuntimeError: something within"]
