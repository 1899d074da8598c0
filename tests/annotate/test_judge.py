import time

import numpy as np
import pytest
from collect_fakes import CannedWriter, failed, said, serving

from pluralign.annotate.both_orders import BothOrders
from pluralign.annotate.judge import Judge, ReplyJudge, mean_of_orders
from pluralign.annotate.listwise import ListwiseJudge
from pluralign.annotate.prompt import LONGEST, JudgePrompt
from pluralign.annotate.rater import is_answered
from pluralign.annotate.rubric import Criterion, Rubric, RubricRater
from pluralign.core import Comparison, Decision, InputError, Objective, Segment, Step
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.endpoint_settings import EndpointSettings

KIND = Objective("kindness", "Be kind to {others} for $5.")


def comparison(good="Help.", bad="Shove.", name="x"):
    decision = Decision("An old man falls.", (good, bad, "Wait."))
    return Comparison(
        Segment(f"{name}a", 0, (Step(decision, 0),)), Segment(f"{name}b", 0, (Step(decision, 1),))
    )


def exchanged(c):
    return Comparison(c.second, c.first)


class KindScorer:
    """Likes ``Help.``, and position A a little."""

    name = "kind"

    def __init__(self, liking=2.0, position=0.5):
        self.liking, self.position, self.asked = liking, position, []

    def answer_log_probs(self, chats, answers):
        assert list(answers) == ["A", "B"]
        self.asked += chats
        rows = []
        for text in chats:
            first, second = text.split("Course A:")[1].split("Course B:")
            odds = self.liking * (("Help" in first) - ("Help" in second)) + self.position
            rows.append([odds, 0.0])
        return np.array(rows)


def test_log_probabilities_that_are_not_numbers_are_no_preference():
    with pytest.raises(InputError, match="the log-probabilities of kind are not numbers"):
        Judge(KindScorer(liking=float("nan"))).rate([comparison()], KIND)
    c = comparison()
    options = Comparison(c.first, Segment(c.first.trajectory_id, 1, c.second.steps))
    scorer = KindScorer()
    scorer.answer_log_probs = lambda chats, answers: np.full((len(chats), len(answers)), np.nan)
    with pytest.raises(InputError, match="are not numbers"):
        ListwiseJudge(scorer).rate([options], KIND)


def test_prompt_shows_the_shared_situation_once():
    text = JudgePrompt().fill(comparison(), KIND)
    assert text.count("An old man falls.") == 1
    assert "The aim: Be kind to {others} for $5." in text
    assert "Course A:\n> Help.\n" in text
    assert "Course B:\n> Shove.\n" in text
    assert "Wait." not in text


def test_prompt_tells_longer_segments_and_other_situations():
    first = Segment(
        "a", 0, (Step(Decision("One.", ("x", "y")), 0), Step(Decision("Two.", ("z",)), 0, outcome="Fin."))
    )
    other = Segment("b", 0, (Step(Decision("Else.", ("q", "r")), 1),))
    text = JudgePrompt().fill(Comparison(first, other), KIND)
    assert "Course A:\nOne.\n\n> x\n\nTwo.\n\n> z\n\nFin.\n" in text
    assert "Course B:\nElse.\n\n> r\n" in text


def test_long_courses_are_cut_in_the_middle():
    text = JudgePrompt().fill(comparison(good="a" * 30_000), KIND)
    assert "\n\n[...]\n\n" in text
    assert len(text) < LONGEST + 1000


def test_a_long_situation_is_cut_in_the_middle():
    """Whole, it could push the aim, which stands first, out of a model's context."""
    decision = Decision("The beginning. " + "a" * 30_000 + " The end.", ("Help.", "Shove."))
    first, second = (Segment("t", action, (Step(decision, action),)) for action in (0, 1))
    text = JudgePrompt().fill(Comparison(first, second), KIND)
    assert "The situation:\nThe beginning. aaa" in text
    assert "\n\n[...]\n\n" in text
    assert "aaa The end.\n" in text
    assert len(text) < LONGEST + 1000


def test_prompt_errors(tmp_path):
    file = tmp_path / "mine.txt"
    for text, message in (
        ("$first $second", "lacks the placeholder \\$objective"),
        ("$x", "unknown"),
        ("$", "lone"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            JudgePrompt(file)


def test_a_preference_in_both_orders_counts():
    c = comparison()
    [rating] = Judge(KindScorer()).rate([c], KIND)
    assert rating.preference == "first"
    assert rating.info == {"answers": ["first", "first"], "log_odds": [2.5, 1.5]}
    [other] = Judge(KindScorer()).rate([exchanged(c)], KIND)
    assert other.preference == "second"


def test_a_liking_for_a_position_is_a_tie():
    [rating] = Judge(KindScorer(liking=1.0, position=3.0)).rate([comparison()], KIND)
    assert rating.preference == "tie"
    assert rating.info["answers"] == ["first", "second"]


def test_the_mean_of_both_orders_cancels_a_liking_for_a_position():
    biased = KindScorer(liking=1.0, position=3.0)
    c = comparison()
    ratings = Judge(biased, decide=mean_of_orders).rate([c, exchanged(c)], KIND)
    assert [r.preference for r in ratings] == ["first", "second"]
    [rating] = Judge(KindScorer(liking=0.0), decide=mean_of_orders).rate([c], KIND)
    assert rating.preference == "tie"
    assert Judge(biased).settings != Judge(biased, decide=mean_of_orders).settings


def test_nothing_is_asked_twice():
    scorer = KindScorer()
    judge = Judge(scorer)
    # Other trajectories, the same texts; and the same exchanged.
    judge.rate([comparison(), comparison(name="y"), exchanged(comparison())], KIND)
    assert len(scorer.asked) == 2
    judge.rate([comparison()], KIND)
    assert len(scorer.asked) == 2


def kind_reply(chat, seed):
    first = chat[0]["content"].split("Course A:")[1].split("Course B:")[0]
    return "A" if "Help" in first else "B"


def test_replies_in_both_orders():
    writer = CannedWriter(kind_reply)
    ratings = ReplyJudge(writer).rate([comparison(), exchanged(comparison())], KIND)
    assert [r.preference for r in ratings] == ["first", "second"]
    assert ratings[0].info == {"answers": ["first", "first"]}
    assert len(writer.chats) == 2
    [tie] = ReplyJudge(CannedWriter(lambda chat, seed: "A")).rate([comparison()], KIND)
    assert tie.preference == "tie"


def test_malformed_replies_are_asked_again_then_a_tie():
    second_time = CannedWriter(lambda chat, seed: kind_reply(chat, seed) if len(chat) > 1 else "well")
    [rating] = ReplyJudge(second_time).rate([comparison()], KIND)
    assert rating.preference == "first"
    assert rating.info["malformed"] == ["well", "well"]
    assert is_answered(rating)
    [rating] = ReplyJudge(CannedWriter(lambda chat, seed: "well"), re_asks=1).rate([comparison()], KIND)
    assert rating.preference == "tie"
    assert rating.info["malformed"] == ["well"] * 4
    assert rating.info["unanswered"] == [True, True]
    assert not is_answered(rating)
    silent = ReplyJudge(CannedWriter(lambda chat, seed: "well"))
    for rater in (RubricRater(silent, Rubric((Criterion(KIND),))), BothOrders(silent)):
        assert not is_answered(rater.rate([comparison()], KIND)[0])


def server_reply(body, n):
    return said(kind_reply(body["messages"], 0))


def test_a_judge_at_an_endpoint():
    def respond(body, n):
        if n == 1:
            return failed(429, Retry_After="0.1")
        if n == 2:
            return failed(500)
        return server_reply(body, n)

    with serving(respond) as server:
        judge = ReplyJudge(Endpoint("m", EndpointSettings((server.url,), timeout=30, retries=3)))
        ratings = judge.rate([comparison(), comparison(good="Help him up.")], KIND)
    assert [r.preference for r in ratings] == ["first", "first"]
    assert judge.name == "judge:openai:m"


def test_a_dead_or_slow_endpoint_is_one_line():
    def slow(body, n):
        time.sleep(0.5)
        return server_reply(body, n)

    with serving(slow) as server:
        url = server.url
        hasty = Endpoint("m", EndpointSettings((url,), timeout=0.1, retries=0))
        with pytest.raises(InputError, match="timed out"):
            ReplyJudge(hasty).rate([comparison()], KIND)
    with pytest.raises(InputError, match=url):
        ReplyJudge(Endpoint("m", EndpointSettings((url,), retries=0))).rate([comparison()], KIND)
