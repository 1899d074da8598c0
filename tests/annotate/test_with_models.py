"""The judge against the models layer as it is: a tiny language model with random weights."""

from pluralign.annotate.judge import Judge, ReplyJudge
from pluralign.core import Comparison, Decision, Objective, Segment, Step
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.lm.language_model import LanguageModel

KIND = Objective("kindness", "Be kind.")


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
