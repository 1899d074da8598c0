"""Checkpoints, mixtures and people's sheets that are audited from Python."""

import json
from dataclasses import replace

import pytest

import pluralign as pl
from pluralign.annotate.open import open_rater
from pluralign.evaluate.values.outcomes import Outcome
from pluralign.evaluate.values.report import headline, write_values_report
from pluralign.evaluate.values.run import Material, audit_subjects
from pluralign.evaluate.values.settings import AuditConfig
from pluralign.evaluate.values.sheet import both_orders, write_outcome_sheet
from pluralign.evaluate.values.stances import StanceQuestion
from pluralign.evaluate.values.subjects import (
    checkpoint_subjects,
    mixture_subjects,
    model_subject,
    rater_subject,
)

OUTCOMES = [Outcome(text) for text in ("It rains.", "The sun shines.", "It snows.")]
QUICK = AuditConfig(resamples=10, drawn_lotteries=2)


@pytest.fixture(scope="module")
def policies():
    return pl.load_policies("tiny-random", one="tiny-random", two="tiny-random")


def test_mixtures_along_a_dial_are_audited(policies, tmp_path):
    dial = mixture_subjects(policies, pl.simplex_grid(policies.objectives, 2), reading="likelihood")
    assert [one.position for one in dial] == [0.0, 0.5, 1.0]
    report = audit_subjects(dial, Material(OUTCOMES), QUICK, out=tmp_path)
    assert [point.label for point in report.points] == [one.weights.to_text() for one in dial]
    assert report.axis == "weight on one"
    # Both policies are the same model, and so are all their mixtures and the model itself.
    audits = [
        *report.audits,
        pl.audit_values(model_subject("tiny-random", reading="likelihood"), OUTCOMES, config=QUICK),
    ]
    agreement = audits[0].consistency.agreement
    assert all(audit.consistency.agreement == pytest.approx(agreement) for audit in audits)
    assert all(path.is_file() for path in write_values_report(report, tmp_path))


def test_one_mixture_has_no_position(policies):
    (alone,) = mixture_subjects(policies, [{"one": 0.3, "two": 0.7}])
    assert (alone.position, alone.axis) == (None, "")
    with pytest.raises(pl.InputError, match="three"):
        mixture_subjects(policies, [{"three": 1.0}])


def test_checkpoints_are_opened_at_their_turn():
    found = checkpoint_subjects(["a/checkpoint-2", "b/checkpoint-2"][:1])
    assert (found[0].label, found[0].axis) == ("checkpoint-2", "")
    # Equal names are told apart by their folders.
    assert [one.label for one in checkpoint_subjects(["a/last", "b/last"])] == ["a/last", "b/last"]
    with pytest.raises(pl.InputError, match="order of their steps"):
        checkpoint_subjects(["a/checkpoint-20", "a/checkpoint-3"])


def test_a_sheet_has_every_pair_in_both_orders(tmp_path):
    sheet = tmp_path / "sheet.jsonl"
    assert write_outcome_sheet(OUTCOMES, sheet, QUICK) == 6
    assert len(sheet.read_text().splitlines()) == 6
    listed = both_orders(OUTCOMES, QUICK)
    assert [one.first for one in listed[:3]] == [one.second for one in listed[3:]]
    person = open_rater(f"human:{sheet}", comparisons=listed)
    assert person.rate(listed, pl.Objective("preference", "x")) == [None] * 6
    asked = rater_subject(f"human:{sheet}", OUTCOMES, QUICK)
    rows = [json.loads(line) for line in sheet.read_text().splitlines()]
    for last, unanswered in ((5, 1), (6, 0)):
        filled = [{**row, "preference": "tie"} if k < last else row for k, row in enumerate(rows)]
        sheet.write_text("".join(json.dumps(row) + "\n" for row in filled))
        # The sheet is filled in further, and the same command is given again.
        found = pl.audit_values(asked, OUTCOMES, config=QUICK, out=tmp_path / "audit")
        assert found.consistency.unanswered == unanswered
    with pytest.raises(pl.InputError, match="three or more outcomes"):
        write_outcome_sheet(OUTCOMES[:2], sheet)


def test_stances_of_mixtures(policies, tmp_path):
    asked = Material(stances=[StanceQuestion("tea", "Tea?", "Tea?", "yes", "no")])
    turned = mixture_subjects(policies, [{"one": 1.0}, {"two": 1.0}], reading="likelihood")
    with pytest.raises(pl.InputError, match="positions must ascend"):
        audit_subjects(turned, asked, QUICK, out=tmp_path / "turned")
    assert not (tmp_path / "turned").exists()
    report = audit_subjects(turned[::-1], asked, QUICK, out=tmp_path / "dial")
    assert headline(report) == "Stances move by 0.00 on average"
    # Three policies' weights are no axis, so nothing moves along it.
    alone = [replace(one, position=None) for one in turned]
    assert headline(audit_subjects(alone, asked, QUICK, out=tmp_path / "dial")) == (
        "Stances of 2 models that lie on no axis"
    )
