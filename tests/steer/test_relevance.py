"""Relevance: factors by what is at stake in a prompt."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError, Objective, SteeringWeights
from pluralign.data.objectives import load_objectives
from pluralign.steer.policies import load_policies
from pluralign.steer.relevance import (
    LEAST_FACTOR,
    JudgedRelevance,
    Relevance,
    RewardedRelevance,
    judged_probabilities,
    open_relevance,
    text_of,
    weigh,
)
from pluralign.steer.relevance_file import write_relevance

AIMS = [
    Objective("honest", "It is the truth."),
    Objective("kind", "It is kind."),
    Objective("short", "It is short."),
]
WEIGHTS = SteeringWeights(honest=0.2, kind=0.3, short=0.5)


class Fixed:
    """Probabilities by the description of an objective."""

    name = "fixed"

    def __init__(self, **shares):
        self.shares = {aim.description: shares[aim.name] for aim in AIMS}

    def at_stake(self, prompts, principles):
        return np.array([[self.shares[principle] for principle in principles] for _ in prompts])


class Answers:
    """A language model whose log-odds of Yes are a function of the question."""

    name = "answers"

    def __init__(self, odds):
        self.odds, self.asked = odds, []

    def answer_log_probs(self, chats, answers):
        assert tuple(answers) == ("Yes", "No")
        self.asked += chats
        return np.array([[self.odds(chat), 0.0] for chat in chats])


def test_what_is_at_stake_or_unsure_keeps_its_weight():
    factors = Relevance(Fixed(honest=0.9, kind=0.5, short=0.25), AIMS).of("Why?")
    assert factors == {"honest": 1.0, "kind": 1.0, "short": 0.5}
    assert dict(weigh(WEIGHTS, factors)) == pytest.approx(
        {"honest": 0.2 / 0.75, "kind": 0.4, "short": 0.25 / 0.75}
    )


def test_no_objective_is_silenced():
    factors = Relevance(Fixed(honest=0.0, kind=1.0, short=0.001), AIMS).of("Why?")
    assert factors == {"honest": LEAST_FACTOR, "kind": 1.0, "short": LEAST_FACTOR}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_equal_factors_leave_the_weights_as_they_are(share):
    relevance = Relevance(Fixed(honest=share, kind=share, short=share), AIMS)
    assert relevance.weigh(WEIGHTS, relevance.of("Why?")) is WEIGHTS


def test_objectives_without_a_principle_keep_factor_one():
    assert dict(weigh({"honest": 0.5, "other": 0.5}, {"honest": 0.5})) == pytest.approx(
        {"honest": 1 / 3, "other": 2 / 3}
    )
    alone = SteeringWeights(honest=1.0, other=0.0)
    assert weigh(alone, {"honest": 0.5}) is alone


@given(st.permutations(["honest", "kind", "short"]), st.tuples(*[st.floats(0, 1)] * 3))
def test_the_order_of_objectives_changes_nothing(order, shares):
    estimator = Fixed(**dict(zip(("honest", "kind", "short"), shares, strict=True)))
    by_name = {aim.name: aim for aim in AIMS}
    one, other = Relevance(estimator, AIMS).of("a"), Relevance(estimator, [by_name[n] for n in order]).of("a")
    assert one == other
    assert dict(weigh(WEIGHTS, one)) == pytest.approx(dict(weigh({n: WEIGHTS[n] for n in order}, other)))


def test_a_judge_is_asked_twice_and_contradictions_are_unsure():
    def odds(text):
        opposite = "nothing to do" in text
        if "truth" in text:
            return -2.0 if opposite else 1.0  # at stake, both times
        if "short" in text:
            return 3.0 if opposite else -1.0  # not at stake, both times
        return 4.0  # yes to everything

    scorer = Answers(odds)
    found = JudgedRelevance(scorer).at_stake(["Why?"], [aim.description for aim in AIMS])
    sigmoid = 1 / (1 + np.exp(-np.array([1.5, -2.0])))
    assert found == pytest.approx(np.array([[sigmoid[0], 0.5, sigmoid[1]]]))
    assert len(scorer.asked) == 6
    assert all("Why?" in text for text in scorer.asked)
    assert judged_probabilities(np.zeros((1, 1)), np.ones((1, 1)))[0, 0] == 0.5


class Lengths:
    """A reward: how much longer the completion is than 13 characters."""

    name, counts = "lengths", {}

    def score(self, prompts, completions):
        return np.array(
            [
                float(len(c) - 13) * (p != "broken") if p != "broken" else np.nan
                for p, c in zip(prompts, completions, strict=True)
            ]
        )


def test_a_reward_is_read_as_the_logit_of_the_principle():
    reward = RewardedRelevance(Lengths())
    found = reward.at_stake(["a", "b"], ["x" * 13, "x" * 15])
    assert found == pytest.approx(np.array([[0.5, 1 / (1 + np.exp(-2))]] * 2))
    with pytest.raises(InputError, match="not numbers"):
        reward.at_stake(["broken"], ["x"])


@pytest.fixture(scope="module")
def judged():
    return open_relevance("judge:tiny-random", AIMS)


def test_a_prompt_does_not_depend_on_what_is_asked_with_it(judged):
    prompts = ["Why?", "A much longer question about the weather in all of the northern towns.", "Hm."]
    together = judged.of_each(prompts)
    for prompt, found in zip(prompts, together, strict=True):
        assert judged.of(prompt) == pytest.approx(found, abs=1e-6)


def test_weights_of_a_mixture_follow_the_prompt(judged):
    mix = load_policies("tiny-random", honest="tiny-random", kind="tiny-random")
    provider = judged.provider({"honest": 0.5, "kind": 0.5})
    assert sum(provider("Why?").values()) == pytest.approx(1.0)
    answer = mix.generate("Why?", weights=provider, max_new_tokens=3)
    assert answer == mix.generate("Why?", weights=provider("Why?"), max_new_tokens=3)
    talk = [{"role": "user", "content": "Why?"}]
    assert text_of(talk) == "Why?"
    assert text_of([*talk, {"role": "assistant", "content": None}]) == "user: Why?\n\nassistant: "
    assert isinstance(mix.generate(talk, weights=provider, max_new_tokens=3), str)


@pytest.mark.parametrize("kind", ["judge", "reward"])
def test_what_another_model_estimated_is_not_continued(tmp_path, monkeypatch, kind):
    folder, out, found = tmp_path / "trained", tmp_path / "out.jsonl", []
    prompts, aims = tmp_path / "prompts.txt", tmp_path / "aims.jsonl"
    prompts.write_text("Why?\nHow?\n")
    aims.write_text('{"name": "kind", "description": "It is kind."}\n')

    class Trained:
        name = "trained"

        def at_stake(self, asked, principles):
            if found == [0.3]:
                raise KeyboardInterrupt
            found.append(float((folder / "card.json").read_text()))
            return np.array([[found[-1]]])

    monkeypatch.setattr("pluralign.steer.relevance_file._BATCH", 1)
    monkeypatch.setattr(
        "pluralign.steer.relevance_file.open_relevance", lambda _, own, dtype: Relevance(Trained(), own)
    )
    folder.mkdir()
    (folder / "card.json").write_text("0.3")
    with pytest.raises(KeyboardInterrupt):
        write_relevance(prompts, aims, f"{kind}:{folder}", out, shown=False)
    (folder / "card.json").write_text("0.4")
    found.clear()
    assert write_relevance(prompts, aims, f"{kind}:{folder}", out, shown=False).mean_factors == {"kind": 0.8}


@pytest.mark.parametrize("spec", ["dice", "judge:", "reward:", "rubric:m"])
def test_other_estimators_are_refused(spec):
    with pytest.raises(InputError, match="judge:MODEL or reward:REWARD"):
        open_relevance(spec, AIMS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "kind"}], "description"),
        ([{"name": "kind", "description": "x"}] * 2, "two objectives are named 'kind'"),
        ([{"name": "kind", "description": "x", "weight": 1}], "is unknown"),
        ([{"name": "Kind", "description": "x"}], "lower case"),
        ([], "has no objective"),
    ],
)
def test_wrong_files_of_objectives_are_refused(tmp_path, rows, message):
    path = tmp_path / "o.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message):
        load_objectives(path)
