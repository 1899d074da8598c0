"""Listwise judges: each option is at each place once."""

import numpy as np
import pytest
from collect_fakes import CannedWriter

from pluralign.annotate.listwise import ListwiseJudge, ListwiseReplyJudge, latin_square, parse_ranking
from pluralign.annotate.open import open_rater
from pluralign.core import Comparison, Decision, InputError, Objective, Segment, Step

KIND = Objective("kindness", "Be kind.")
OPTIONS = ("Help him up.", "Walk on.", "Shove him.", "Call for help.")
LIKING = dict(zip(OPTIONS, (2.0, 0.3, -1.0, 1.1), strict=True))


def pairs(options=OPTIONS):
    decision = Decision("An old man falls.", options)
    segments = [Segment("option-x", i, (Step(decision, i),)) for i in range(len(options))]
    return [Comparison(a, b) for i, a in enumerate(segments) for b in segments[i + 1 :]]


def listed(text):
    return [line.removeprefix("> ") for line in text.splitlines() if line.startswith("> ")]


class PlackettLuce:
    """Chooses by the liking for an option plus a bias for its place."""

    name, dtype = "pl", "float32"

    def __init__(self, liking=LIKING, bias=(0.0, 5.0, -3.0, 1.0)):
        self.liking, self.bias, self.asked = liking, bias, []

    def answer_log_probs(self, chats, answers):
        assert tuple(answers) == tuple("ABCD"[: len(answers)])
        self.asked += chats
        logits = np.array(
            [[self.liking[o] + b for o, b in zip(listed(t), self.bias, strict=False)] for t in chats]
        )
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def test_each_option_is_at_each_place_once():
    for count in range(1, 8):
        square = np.array(latin_square(count))
        assert all(sorted(line) == list(range(count)) for line in (*square, *square.T))


def test_scores_are_the_plackett_luce_utilities_whatever_the_bias_for_places():
    scorer = PlackettLuce()
    ratings = ListwiseJudge(scorer).rate(pairs(), KIND)
    assert len(scorer.asked) == 4
    assert "The aim: Be kind." in scorer.asked[0]
    assert "A, B, C or D" in scorer.asked[0]
    for compared, rating in zip(pairs(), ratings, strict=True):
        likings = [LIKING[OPTIONS[s.steps[0].action]] for s in (compared.first, compared.second)]
        scores = rating.info["scores"]
        assert scores[0] - scores[1] == pytest.approx(likings[0] - likings[1], abs=1e-12)
        assert rating.preference == ("first" if likings[0] > likings[1] else "second")


def test_cyclic_shifts_of_the_options_leave_the_answers_as_they_are():
    def scores(options):
        found = {}
        for compared, rating in zip(
            pairs(options), ListwiseJudge(PlackettLuce()).rate(pairs(options), KIND), strict=True
        ):
            for segment, score in zip((compared.first, compared.second), rating.info["scores"], strict=True):
                found[options[segment.steps[0].action]] = score
        return found

    assert scores(OPTIONS) == scores(OPTIONS[1:] + OPTIONS[:1]) == scores(OPTIONS[2:] + OPTIONS[:2])


def test_a_judge_of_places_finds_no_option_better():
    flat = ListwiseJudge(PlackettLuce(liking=dict.fromkeys(OPTIONS, 0.1))).rate(pairs(), KIND)
    assert {rating.preference for rating in flat} == {"tie"}


def test_rankings_of_an_endpoint_are_averaged():
    def by_liking(chat, seed):
        likings = [LIKING[option] for option in listed(chat[0]["content"])]
        return " > ".join("ABCD"[i] for i in sorted(range(4), key=lambda i: -likings[i]))

    ratings = ListwiseReplyJudge(CannedWriter(by_liking)).rate(pairs(), KIND)
    assert [r.preference for r in ratings] == ["first", "first", "first", "first", "second", "second"]
    assert ratings[0].info["scores"] == [0.0, -2.0]
    placed = ListwiseReplyJudge(CannedWriter(lambda chat, seed: "B > A > D > C"))
    assert {r.preference for r in placed.rate(pairs(), KIND)} == {"tie"}


def test_a_missing_ranking_makes_ties_that_are_marked():
    def one_fails(chat, seed):
        return "?" if listed(chat[0]["content"])[0] == OPTIONS[2] else "A > B > C > D"

    ratings = ListwiseReplyJudge(CannedWriter(one_fails), re_asks=1).rate(pairs(), KIND)
    assert {r.preference for r in ratings} == {"tie"}
    assert ratings[0].info == {"malformed": ["?", "?"], "unanswered": [False, False, True, False]}


@pytest.mark.parametrize(
    ("reply", "ranking"),
    [
        ("B > A > C", (1, 0, 2)),
        ("**C>B>A**", (2, 1, 0)),
        ("<think>A > B > C</think>\nMy order: B, C, A.", (1, 2, 0)),
        ("<think>A > B > C on warmth, but", None),
        ("A > B", None),
        ("A > B > B", None),
        ("C, A, B", (2, 0, 1)),
        ("I compare A, B, C.\nRanking:\nC, B, A", (2, 1, 0)),
        ("A, B, C: the best is C", None),
        ("Of A, B, C I prefer C.", None),
        ("C > A, B", None),
        ("A > B > C, no: C > B > A", None),
        ("A > B > C\nC > B > A", None),
        ("A is best.", None),
        ("", None),
    ],
)
def test_rankings_are_parsed(reply, ranking):
    assert parse_ranking(reply, 3) == ranking


def test_only_options_of_one_decision_are_judged():
    decision, other = Decision("Two.", ("x", "y")), Decision("Else.", ("x", "y"))
    one = Segment("a", 0, (Step(decision, 0),))
    judge = ListwiseJudge(PlackettLuce())
    for second in (Segment("b", 0, (Step(other, 1),)), Segment("b", 0, (Step(decision, 1), Step(other, 0)))):
        with pytest.raises(InputError, match="options of one decision"):
            judge.rate([Comparison(one, second)], KIND)
    many = Decision("Many.", tuple(map(str, range(27))))
    with pytest.raises(InputError, match="at most 26 options, found 27"):
        judge.rate([Comparison(*(Segment("a", i, (Step(many, i),)) for i in (0, 1)))], KIND)


def test_it_is_opened_by_name():
    judge = open_rater("listwise:tiny-random")
    assert judge.name == "listwise:tiny-random"
    assert len({r.preference for r in judge.rate(pairs(), KIND)}) >= 1
    with pytest.raises(InputError, match="decide"):
        open_rater("listwise:tiny-random", decide="mean")
