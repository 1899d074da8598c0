"""Raters by name, and a rater of one's own."""

import json

import pytest

from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.human import HumanRater, export_sheet
from pluralign.annotate.judge import Judge, ReplyJudge
from pluralign.annotate.open import open_rater
from pluralign.annotate.oracle import Noise, Oracle
from pluralign.annotate.rater import Rating
from pluralign.core import Decision, InputError, Objective, Step, Trajectory
from pluralign.core.records import read_annotations, write_records

SCORE = Objective("score", "More points.")
DECISION = Decision("A door.", ("Open it now.", "Leave."))
TRAJECTORIES = [
    Trajectory(f"t{i}", "door", "random", i, (Step(DECISION, i % 2, {"score": float(i % 2)}),), True, False)
    for i in range(6)
]


@pytest.fixture
def file(tmp_path):
    header = {"objectives": [{"name": "score", "description": "More points.", "coefficients": {}}]}
    write_records(tmp_path / "t.jsonl", "trajectories", TRAJECTORIES, header)
    return tmp_path / "t.jsonl"


def test_each_kind_of_rater_is_opened(monkeypatch, tmp_path):
    noise = Noise(flip=0.2)
    oracle = open_rater("oracle", trajectories=TRAJECTORIES, noise=noise, seed=3)
    assert isinstance(oracle, Oracle)
    assert oracle.settings == Oracle(TRAJECTORIES, noise=noise, seed=3).settings
    comparisons = ComparisonSettings(count=2).draw(TRAJECTORIES)
    export_sheet(comparisons, SCORE, tmp_path / "sheet.csv")
    sheet = open_rater(f"human:{tmp_path / 'sheet.csv'}", comparisons=comparisons)
    assert isinstance(sheet, HumanRater)
    assert sheet.name == "human:sheet.csv"
    assert open_rater(f"human:ann={tmp_path / 'sheet.csv'}", comparisons=comparisons).name == "human:ann"
    (tmp_path / "sheet.csv").rename(tmp_path / "a=b.csv")
    assert open_rater(f"human:{tmp_path / 'a=b.csv'}", comparisons=comparisons).name == "human:a=b.csv"
    judge = open_rater("judge:tiny-random", decide="mean")
    assert isinstance(judge, Judge)
    assert judge.name == "judge:tiny-random"
    assert (judge.settings["decide"], judge.settings["dtype"]) == ("mean_of_orders", "float32")
    pytest.importorskip("httpx2")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    remote = open_rater("judge:openai:some-model")
    assert isinstance(remote, ReplyJudge)
    assert remote.name.endswith("some-model")


@pytest.mark.parametrize("spec", ["oracle", "human:sheet.csv", "dice", "judge:openai:", "reward:", "human:"])
def test_other_names_are_refused(spec):
    with pytest.raises(InputError, match=f"unknown rater '{spec}'; known: judge:MODEL, judge:openai:MODEL"):
        open_rater(spec)


@pytest.mark.parametrize(
    ("spec", "field", "given"),
    [
        ("judge:openai:some-model", "decide", {"decide": "mean"}),
        ("rubric:openai:some-model", "decide", {"decide": "mean"}),
        ("oracle", "decide", {"decide": "mean"}),
        ("judge:tiny-random", "noise", {"noise": Noise(flip=0.2)}),
    ],
)
def test_what_a_rater_would_not_use_is_refused(spec, field, given, tmp_path):
    rubric = tmp_path / "rubric.jsonl"
    rubric.write_text('{"name": "brief", "description": "It is short."}\n')
    more = {"rubric": rubric} if spec.startswith("rubric") else {}
    with pytest.raises(InputError, match=f"field '{field}'"):
        open_rater(spec, trajectories=TRAJECTORIES, **more, **given)


class LongerIsBetter:
    """A rater of one's own: four members, no base class, no registration."""

    name = "longer"
    settings = {}  # noqa: RUF012
    batch = 4

    def rate(self, comparisons, objective):
        lengths = [
            [len(s.steps[0].decision.options[s.steps[0].action]) for s in (c.first, c.second)]
            for c in comparisons
        ]
        return [Rating("first" if a > b else "second" if b > a else "tie") for a, b in lengths]


def test_a_rater_of_ones_own_annotates(file, tmp_path):
    out = tmp_path / "a.jsonl"
    report = annotate(
        file, out, "score", LongerIsBetter(), settings=ComparisonSettings(count=9), progress=False
    )
    assert report.annotations == 6
    for annotation in read_annotations(out):
        chosen = getattr(annotation.comparison, annotation.preference)
        assert chosen.steps[0].action == 0
        assert (annotation.rater, annotation.objective) == ("longer", "score")
    assert json.loads(out.read_text().splitlines()[0])["rater"] == "longer"
    with pytest.raises(InputError, match="unknown objective 'fame'; the trajectories have score"):
        annotate(file, out, "fame", LongerIsBetter())
