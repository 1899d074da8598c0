"""Rubrics: files, aggregation outside of the model, and order."""

import json
import math
from itertools import product

import numpy as np
import pytest
from collect_fakes import CannedWriter

from pluralign.annotate.annotator import ComparisonSettings
from pluralign.annotate.judge import Judge, ReplyJudge
from pluralign.annotate.open import open_rater
from pluralign.annotate.rater import Rating
from pluralign.annotate.rubric import Criterion, Rubric, RubricRater, load_rubric
from pluralign.core import Comparison, Decision, InputError, Objective, Segment, Step, Trajectory
from pluralign.core.preference import EXCHANGED, PREFERENCES
from pluralign.core.records import read_annotations, write_records
from pluralign.evaluate.rewards.win_rate import judged_objective
from pluralign.workflows.annotation import annotate_file

ANY = Objective("better", "Any aim.")
ROWS = [
    {"name": "true", "description": "What it says is true.", "veto": True},
    {"name": "kind", "description": "It is kind.", "weight": 5},
    {"name": "short", "description": "It is short."},
]


def comparison(first="Help.", second="Shove."):
    decision = Decision("An old man falls.", (first, second))
    return Comparison(*(Segment(f"x{i}", 0, (Step(decision, i),)) for i in (0, 1)))


def rubric(*criteria, margin=0.0):
    made = [Criterion(Objective(name, f"It is {name}."), weight, veto) for name, weight, veto in criteria]
    return Rubric(tuple(made), margin)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class WordScorer:
    """Likes the answer that has the criterion's last word, and position A by ``position``."""

    name, dtype = "words", "float32"

    def __init__(self, position=0.0):
        self.position, self.asked = position, []

    def answer_log_probs(self, chats, answers):
        self.asked += chats
        rows = []
        for text in chats:
            word = text.split("The aim: It is ")[1].split(".")[0]
            first, second = text.split("Course A:")[1].split("Course B:")
            rows.append([2.0 * ((word in first) - (word in second.split("Which")[0])) + self.position, 0.0])
        return np.array(rows)


def test_a_rubric_is_read_from_its_file(tmp_path):
    found = load_rubric(write(tmp_path / "r.jsonl", ROWS))
    assert [(c.objective.name, c.weight, c.veto) for c in found.criteria] == [
        ("true", 1.0, True), ("kind", 5.0, False), ("short", 1.0, False),
    ]  # fmt: skip
    assert found.criteria[1].objective.description == "It is kind."


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ({"name": "kind"}, "description", "is missing"),
        ({"name": "kind", "description": " "}, None, "needs a description"),
        ({"name": "Kind!", "description": "x"}, None, "lower case letters"),
        ({"name": "kind", "description": "x", "weight": 0}, "weight", "must be a number above 0, found 0"),
        ({"name": "kind", "description": "x", "weight": "5"}, "weight", "expected int or float"),
        ({"name": "kind", "description": "x", "veto": 1}, "veto", "expected bool"),
        ({"name": "kind", "description": "x", "wieght": 2}, "wieght", "is unknown; a criterion has name"),
        ({"name": "true", "description": "x"}, "name", "two criteria are named 'true'"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, field, message):
    path = write(tmp_path / "r.jsonl", [ROWS[0], row])
    with pytest.raises(InputError, match=message) as error:
        load_rubric(path)
    assert (error.value.path, error.value.row, error.value.field) == (str(path), 2, field)


def test_an_empty_file_and_a_margin_out_of_range_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no criterion"):
        load_rubric(write(tmp_path / "r.jsonl", []))
    with pytest.raises(InputError, match="margin"):
        rubric(("kind", 1.0, False), margin=1.0)


def test_ties_stay_in_the_denominator():
    many = rubric(*((f"c{i}", 1.0, False) for i in range(10)), ("last", 1.0, False), margin=0.2)
    preferences = {f"c{i}": "tie" for i in range(10)} | {"last": "first"}
    assert many.score(preferences) == pytest.approx(1 / 11)
    assert many.decide(preferences) == "tie"


def test_a_veto_decides_alone_unless_vetoes_cancel():
    both = rubric(("true", 0.1, True), ("safe", 0.1, True), ("kind", 5.0, False))
    assert both.score({"true": "first", "safe": "tie", "kind": "second"}) == 0.5
    # The trap: with the vetoes against each other, everything else would be forgotten.
    assert both.decide({"true": "first", "safe": "second", "kind": "second"}) == "second"
    assert both.decide({"true": "tie", "safe": "tie", "kind": "first"}) == "first"


def test_exchanging_the_answers_negates_the_score_exactly():
    three = rubric(("true", 0.3, True), ("kind", 0.1, False), ("short", 0.7, False))
    for preferences in product(PREFERENCES, repeat=3):
        named = dict(zip(("true", "kind", "short"), preferences, strict=True))
        exchanged = {name: EXCHANGED[preference] for name, preference in named.items()}
        assert three.score(exchanged) == -three.score(named)
        assert three.decide(exchanged) == EXCHANGED[three.decide(named)]


def test_each_criterion_is_judged_by_itself_in_both_orders():
    scorer = WordScorer()
    rater = RubricRater(Judge(scorer), rubric(("kind", 3.0, False), ("short", 1.0, False)))
    (found,) = rater.rate([comparison("kind", "short")], ANY)
    assert found == Rating("first", {"score": 0.5, "criteria": {"kind": "first", "short": "second"}})
    assert len(scorer.asked) == 4
    assert all(("It is kind." in text) != ("It is short." in text) for text in scorer.asked)
    assert rater.name == "rubric:words"
    (other,) = rater.rate([comparison("short", "kind")], ANY)
    assert (other.preference, other.info["score"]) == ("second", -0.5)


def test_a_liking_for_a_place_gives_ties():
    rater = RubricRater(Judge(WordScorer(position=9.0)), rubric(("kind", 1.0, True), ("short", 1.0, False)))
    (found,) = rater.rate([comparison("kind", "short")], ANY)
    assert (found.preference, found.info["score"]) == ("tie", 0.0)


def test_one_criterion_equals_the_judge():
    judge, pairs = (
        Judge(WordScorer()),
        [comparison("kind", "x"), comparison("x", "kind"), comparison("x", "y")],
    )
    one = rubric(("kind", 4.0, False))
    alone = judge.rate(pairs, one.criteria[0].objective)
    assert [r.preference for r in RubricRater(judge, one).rate(pairs, ANY)] == [r.preference for r in alone]


def test_malformed_replies_are_kept_and_missing_answers_stay_missing():
    rater = RubricRater(
        ReplyJudge(CannedWriter(lambda chat, seed: "Hm."), re_asks=0),
        rubric(("kind", 1.0, False)),
    )
    (found,) = rater.rate([comparison()], ANY)
    assert found.preference == "tie"
    assert found.info["malformed"] == ["Hm.", "Hm."]

    class Silent:
        name, settings, batch = "silent", {}, 4

        def rate(self, comparisons, objective):
            return [None if objective.name == "short" else Rating("first")] * len(comparisons)

    two = rubric(("kind", 1.0, False), ("short", 1.0, False))
    assert RubricRater(Silent(), two).rate([comparison()], ANY) == [None]


def test_the_rubric_is_among_the_settings(tmp_path):
    path = write(tmp_path / "r.jsonl", ROWS)
    rater = open_rater("rubric:tiny-random", rubric=path, decide="mean")
    assert rater.name == "rubric:tiny-random"
    assert rater.settings["decide"] == "mean_of_orders"
    assert rater.settings["criteria"][0] == {**ROWS[0], "weight": 1.0}
    (found,) = rater.rate([comparison()], ANY)
    assert set(found.info["criteria"]) == {"true", "kind", "short"}
    assert math.isfinite(found.info["score"])


def test_a_rubric_goes_with_its_rater_only(tmp_path):
    with pytest.raises(InputError, match="'rubric': rubric:MODEL needs a file of criteria"):
        open_rater("rubric:tiny-random")
    with pytest.raises(InputError, match="'rubric': is for rubric:MODEL, not judge:tiny-random"):
        open_rater("judge:tiny-random", rubric=write(tmp_path / "r.jsonl", ROWS))


def test_a_file_of_trajectories_is_annotated_by_a_rubric_and_by_lists(tmp_path):
    decision = Decision("A door.", ("Open it.", "Leave."))
    played = [
        Trajectory(f"t{i}", "door", "random", i, (Step(decision, i, {"better": 0.0}),), True, False)
        for i in (0, 1)
    ]
    header = {"objectives": [{"name": "better", "description": "Any aim.", "coefficients": {}}]}
    write_records(tmp_path / "t.jsonl", "trajectories", played, header)
    options = {"comparisons": ComparisonSettings(of="options", count=4), "say": lambda line: None}
    path = write(tmp_path / "r.jsonl", ROWS)
    for rater, more in (("rubric:tiny-random", {"rubric": path}), ("listwise:tiny-random", {})):
        out = tmp_path / f"{rater[:4]}.jsonl"
        annotate_file(tmp_path / "t.jsonl", "better", rater, out, **options, **more)
        (annotation,) = read_annotations(out)
        assert annotation.rater == rater
        assert set(annotation.info) == ({"score", "criteria"} if more else {"scores"})


def test_a_win_rate_by_a_rubric_needs_no_objective():
    assert judged_objective("rubric:model", "").name == "rubric"
