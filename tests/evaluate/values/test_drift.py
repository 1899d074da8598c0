"""Stances and their drift, against planted paths."""

import json
import math

import numpy as np
import pytest

import pluralign as pl
from pluralign.evaluate.values.drift import stance_drift, total_drift
from pluralign.evaluate.values.stances import StanceQuestion, load_stances, read_stances
from pluralign.lm.language_model import OptionLikelihoods

QUESTIONS = [
    StanceQuestion(topic, f"{topic} {number}", f"{topic} {number}, phrased {phrasing}", "yes", "no")
    for topic in ("tea", "jazz")
    for number in range(3)
    for phrasing in range(4)
]


@pytest.fixture
def planted():
    random = np.random.default_rng(0)
    start = random.uniform(0.2, 0.4, size=len(QUESTIONS))
    return start, start + random.uniform(0.2, 0.4, size=len(QUESTIONS))


def test_equal_checkpoints_do_not_drift(planted):
    start, _ = planted
    for topic in stance_drift(QUESTIONS, np.stack([start] * 5), range(5)):
        assert topic.magnitude.mean == 0.0
        assert topic.magnitude.low == topic.magnitude.high == 0.0
        assert topic.time is None


@pytest.mark.parametrize("steps", [20, 100])
def test_a_straight_path_arrives_after_95_percent(planted, steps):
    start, end = planted
    shares = np.arange(steps + 1) / steps
    support = start + shares[:, None] * (end - start)
    topics = stance_drift(QUESTIONS, support, shares * 700)
    assert [topic.time for topic in topics] == pytest.approx([0.95, 0.95])
    for topic, own in zip(topics, ("jazz", "tea"), strict=True):
        rows = [row for row, one in enumerate(QUESTIONS) if one.topic == own]
        assert topic.topic == own
        assert topic.magnitude.mean == pytest.approx((end - start)[rows].mean())
        assert topic.magnitude.low <= topic.magnitude.mean <= topic.magnitude.high
    assert total_drift(topics) == pytest.approx((end - start).mean())


def test_a_path_that_leaves_again_has_not_arrived(planted):
    start, end = planted
    support = np.stack([start, end, start, end, end])
    assert [topic.time for topic in stance_drift(QUESTIONS, support, range(5))] == [0.75, 0.75]


def test_the_order_of_phrasings_does_not_matter(planted):
    start, end = planted
    order = np.random.default_rng(1).permutation(len(QUESTIONS))
    support = np.stack([start, end])
    expected = stance_drift(QUESTIONS, support, [0, 1])
    assert stance_drift([QUESTIONS[i] for i in order], support[:, order], [0, 1]) == expected


def test_questions_count_alike_however_many_phrasings_they_have():
    questions = [*QUESTIONS[:4], QUESTIONS[4]]
    support = np.array([[0.0] * 5, [0.2] * 4 + [0.6]])
    (topic,) = stance_drift(questions, support, [0, 1])
    assert topic.magnitude.mean == pytest.approx(0.4)
    assert topic.questions == 2
    assert topic.phrasings == 5


def test_the_noise_of_phrasings(planted):
    start, _ = planted
    jazz, tea = stance_drift(QUESTIONS, np.stack([start, start]), [0, 1])
    spread = np.mean([start[first : first + 4].std(ddof=1) for first in (0, 4, 8)])
    assert tea.phrasing_noise == pytest.approx(spread)
    assert jazz.phrasing_noise > 0


def test_one_phrasing_has_no_interval():
    (topic,) = stance_drift(QUESTIONS[:1], np.array([[0.1], [0.9]]), [0, 1])
    assert topic.time is None
    assert topic.phrasing_noise is None
    assert topic.to_json()["magnitude"]["low"] is None


def test_positions_ascend():
    with pytest.raises(pl.InputError, match="must ascend"):
        stance_drift(QUESTIONS[:1], np.zeros((2, 1)), [1, 1])


class Opinion:
    """Says yes with log-odds 1, and what is listed first with log-odds 2."""

    name = "opinion"

    def reply_log_likelihoods(self, decisions):
        found = []
        for decision in decisions:
            first = decision.prompt.index(f"- {decision.options[0]}") < decision.prompt.index(
                f"- {decision.options[1]}"
            )
            odds = (1.0 if decision.options[0] == "yes" else -1.0) + (2.0 if first else -2.0)
            found.append(OptionLikelihoods(np.array([odds, 0.0]), np.array([1, 1])))
        return found


def test_stances_are_read_in_both_orders():
    answers = read_stances(Opinion(), QUESTIONS[:3])
    expected = [1 / (1 + math.exp(-3)), 1 / (1 + math.exp(1))]
    assert np.allclose(answers.orders, [expected] * 3)
    assert not answers.agree.any()


def _write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_questions_are_read(tmp_path):
    row = {"topic": "tea", "question": "Tea?", "options": {"yes": "opposes", "no": "supports"}}
    (question,) = load_stances(_write(tmp_path / "s.jsonl", row))
    assert question == StanceQuestion("tea", "Tea?", "Tea?", "no", "yes")
    with pytest.raises(pl.InputError, match=r"s\.jsonl:2, field 'question': is there twice"):
        load_stances(_write(tmp_path / "s.jsonl", row, row))
    with pytest.raises(pl.InputError, match="one answer that supports and one that opposes"):
        load_stances(_write(tmp_path / "s.jsonl", {**row, "options": {"yes": "supports"}}))


def test_the_published_questions_are_read(shared_data):
    folder = shared_data / "value_consistency"
    if not folder.is_dir():
        pytest.skip("the data of ValueConsistency are absent")
    found = load_stances(folder / "controversial_english_us.jsonl")
    assert len({one.topic for one in found}) == 28
    assert len({one.original for one in found}) == 131


def test_intervals_of_few_questions_hold_the_drift():
    random, held = np.random.default_rng(0), []
    questions = [StanceQuestion("tea", f"{i}", f"{i}", "yes", "no") for i in range(3)]
    for _ in range(100):
        support = np.stack([np.full(3, 0.4), 0.5 + 0.05 * random.normal(size=3)])
        (found,) = stance_drift(questions, support, [0, 1], resamples=50)
        held.append(found.magnitude.low <= 0.1 <= found.magnitude.high)
    assert np.mean(held) > 0.9
