"""The judge against the models layer as it is: a tiny language model with random weights."""

import pytest

from pluralign.annotate.annotator import annotate_comparisons
from pluralign.annotate.judge import Judge, ReplyJudge
from pluralign.annotate.listwise import ListwiseJudge
from pluralign.annotate.rubric import Criterion, Rubric, RubricRater
from pluralign.core import Comparison, Decision, InputError, Objective, Segment, Step
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.lm.language_model import LanguageModel

KIND = Objective("kindness", "Be kind.")


@pytest.mark.parametrize("kind", [Judge, ListwiseJudge, "rubric"])
def test_answers_of_a_model_that_was_replaced_are_not_added_to_a_file(kind, tmp_path):
    decisions = [Decision(prompt, ("Help.", "Shove.")) for prompt in ("He falls.", "She falls.")]
    asked = [
        Comparison(*(Segment(f"{number}-{i}", 0, (Step(decision, i),)) for i in range(2)))
        for number, decision in enumerate(decisions)
    ]

    def annotated(seed, count):
        model = LanguageModel(make_tiny_backbone(seed))
        rater = RubricRater(Judge(model), Rubric((Criterion(KIND),))) if kind == "rubric" else kind(model)
        file = tmp_path / "a.jsonl"
        return annotate_comparisons(asked[:count], file, KIND, rater, progress=False).new_annotations

    assert [annotated(0, 1), annotated(0, 1)] == [1, 0]
    with pytest.raises(InputError, match="field 'model': was started with"):
        annotated(1, 2)
    assert annotated(0, 2) == 1


def test_a_local_judge():
    decision = Decision("An old man falls.", ("Help.", "Shove.", "Wait."))
    a, b, c = (Segment(f"t{i}", 0, (Step(decision, i),)) for i in range(3))
    model = LanguageModel(make_tiny_backbone())
    one, turned, _ = Judge(model).rate([Comparison(a, b), Comparison(b, a), Comparison(b, c)], KIND)
    exchange = {"first": "second", "second": "first", "tie": "tie"}
    assert turned.preference == exchange[one.preference]
    assert sorted(turned.info["log_odds"]) == sorted(-x for x in one.info["log_odds"])
    # Asked alone, it is answered alike.
    [alone] = Judge(model).rate([Comparison(a, b)], KIND)
    assert alone.preference == one.preference
    for x, y in zip(alone.info["log_odds"], one.info["log_odds"], strict=True):
        assert abs(x - y) < 1e-4
    [unread] = ReplyJudge(model, re_asks=1, max_new_tokens=2).rate([Comparison(a, b)], KIND)
    assert unread.preference == "tie"
    assert len(unread.info["malformed"]) == 4
