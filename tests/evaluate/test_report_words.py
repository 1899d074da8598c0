"""What the report says about its figures, and how it prints numbers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from made_up_reports import make_report, point

from pluralign.evaluate.rank_correlation import Correlation
from pluralign.evaluate.report.words import (
    compare,
    differ,
    duration,
    headline,
    number,
    pair,
    takeaway,
    trend,
)  # fmt: skip
from pluralign.evaluate.statistics import Estimate, estimate


def test_the_takeaway_says_what_happened() -> None:
    report = make_report()
    assert headline(report) == (
        "Shifting the weight from score to harm avoidance trades score for fewer violations, "
        "with no retraining"
    )
    text = takeaway(report).replace("\u00a0", " ")
    assert (
        "violations per episode fell from 7.1 to 0.9, by 87 %, and the mean score fell from 48 to 18" in text
    )
    assert "cover 87 % (95 % interval 84 % to 89 %)" in text
    assert "Retraining for 3 of the weightings took 4 min; steering took none." in text
    assert "the utilities of both did not differ measurably" in text
    assert "violations fell as the weight on harm avoidance rose" in trend(report)


def test_few_episodes_of_equal_policies_are_not_told_apart() -> None:
    """By 1.96 standard errors, two episodes of each are in 19 % of the cases."""
    rng = np.random.default_rng(0)
    pairs = [[estimate(rng.normal(size=2), resamples=2) for _ in range(2)] for _ in range(400)]
    assert sum(differ(*pair) != 0 for pair in pairs) <= 20
    assert differ(estimate([1.0, 1.1, 0.9]), estimate([3.0, 3.1, 2.9])) == -1


def test_the_takeaway_does_not_claim_what_did_not_happen() -> None:
    flat = make_report(violations=lambda w: 3.0 + 0.2 * w, spearman=Correlation(-0.3, -0.8, 0.4, 11))
    assert headline(flat).endswith("made no measurable difference to the violations")
    assert "violations per episode did not change measurably (3.2 to 3)" in takeaway(flat)
    assert "no clear trend" in trend(flat)
    wrong = make_report(
        violations=lambda w: 6.0 - 4 * w,
        hypervolume_ratio=1.03,
        spearman=Correlation(0.9, 0.7, 1.0, 11),
    )
    assert headline(wrong).endswith("raised the violations: this run did not work")
    assert "violations per episode rose from 2 to 6, by 200\u00a0%" in takeaway(wrong)
    assert "More than 100 % is possible" in takeaway(wrong)
    assert "which they should not" in trend(wrong)
    free = make_report(score=lambda w: 30.0)
    assert headline(free).endswith("lowers the violations, with no retraining")
    assert "the mean score did not change measurably (30 to 30)" in takeaway(free)


def test_the_takeaway_tells_when_retraining_was_better() -> None:
    retrained = tuple(point(w, 55.0, 0.5, 0.1, 60.0) for w in (0.2, 0.5, 0.8))
    text = takeaway(make_report(retrained=retrained))
    found = re.search(r"worth (\d+)\u00a0% of the attainable range less to the user", text)
    assert found is not None
    # By hand at w = .5: score (29.4 - 55) / 58 * .5 = -.221, violations -(2.68 - .5) / 21 * .5 = -.052.
    assert 20 <= int(found[1]) <= 40
    elsewhere = takeaway(make_report(retrained=(point(0.25, 55.0, 0.5),)))
    assert "At the same weights" not in elsewhere


def test_comparisons_name_only_measurable_differences() -> None:
    report = make_report()
    assert compare(report, ["DRRN"], "random") == (
        "Against random, DRRN shows more score, power, disutility and violations."
    )
    noisy = {
        name: {m: Estimate(e.mean, 500.0, e.mean - 980, e.mean + 980) for m, e in row.items()}
        for name, row in report.normalised.items()
    }
    assert compare(replace(report, normalised=noisy), ["DRRN"], "random") == (
        "Against random, DRRN shows no measurable difference in score, power, disutility and violations."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.9, "0.9"),
        (-0.98765, "−0.988"),
        (48.04, "48"),
        (7.126, "7.13"),
        (1234.5, "1234"),
        (1e-9, "0"),
        (-0.0004, "0"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_means_are_rounded_to_their_errors() -> None:
    assert pair(29.368, 0.4812) == ("29.37", "0.48")
    assert pair(-123.456, 11.4) == ("−123", "11")
    assert pair(3.0, 0.0) == ("3", "0")
    assert [duration(s) for s in (12.3, 95, 7200)] == ["12\u00a0s", "2\u00a0min", "2.0\u00a0h"]
