"""What the figures say, in sentences whose wording follows the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.pareto import rescale
from pluralign.evaluate.report.model import Report, WeightPoint
from pluralign.evaluate.report.picture import NORMAL_95, plain
from pluralign.evaluate.statistics import Estimate


def number(value: float) -> str:
    """Three digits, no exponent, a true minus."""
    if value == 0:
        return "0"
    decimals = max(0, min(3, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def pair(mean: float, stderr: float) -> tuple[str, str]:
    """A mean and its standard error, both to the second digit of the error."""
    if stderr <= 0:
        return number(mean), number(stderr)
    decimals = max(0, min(3, 1 - math.floor(math.log10(stderr))))
    return f"{mean:.{decimals}f}".replace("-", "−"), f"{stderr:.{decimals}f}"


def percent(share: float) -> str:
    """A share in whole per cent."""
    return f"{100 * share:.0f}\u00a0%".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds, or minutes, or hours."""
    if seconds < 90:
        return f"{seconds:.0f}\u00a0s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f}\u00a0min"
    return f"{seconds / 3600:.1f}\u00a0h"


def differ(first: Estimate, second: Estimate) -> int:
    """1 if the first mean is measurably above the second, -1 if below, 0 if their difference is within
    1.96 of its standard errors (as if independent: with common seeds this is on the safe side)."""
    gap = first.mean - second.mean
    if abs(gap) <= NORMAL_95 * math.hypot(first.stderr, second.stderr):
        return 0
    return 1 if gap > 0 else -1


def takeaway(report: Report) -> str:
    """The report in one paragraph."""
    sentences = [
        f"One policy for each objective was learned once, offline, on the story “{report.title}”. After "
        f"that only the weights changed. {_trade(report)}",
        _coverage(report),
        _retraining(report),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def headline(report: Report) -> str:
    """The report in one line."""
    violations = _change(report, "violations")
    score = _change(report, None)
    first, second = (plain(o) for o in report.objectives[:2])
    turning = f"Turning the dial from {first} to {second}"
    if violations < 0 < -score:
        return f"{turning} trades {first} for fewer violations, with no retraining"
    if violations < 0:
        return f"{turning} lowers the violations, with no retraining"
    if violations == 0:
        return f"{turning} made no measurable difference to the violations"
    return f"{turning} raised the violations: this run did not work"


def _change(report: Report, metric: str | None) -> int:
    """The sign of what happens from all weight on the first objective to all on the second."""
    ends = [_value(report, point, metric) for point in (report.sweep[-1], report.sweep[0])]
    return differ(ends[1], ends[0])


def _value(report: Report, point: WeightPoint, metric: str | None) -> Estimate:
    if metric is not None:
        return point.metrics[metric]
    first = report.objectives[0]
    mean, error = point.returns[first], point.stderr[first]
    return Estimate(mean, error, mean - NORMAL_95 * error, mean + NORMAL_95 * error)


def _trade(report: Report) -> str:
    first, second = (plain(o) for o in report.objectives[:2])
    high, low = report.sweep[-1], report.sweep[0]
    verbs = {-1: "fell", 0: "did not change measurably", 1: "rose"}
    clauses: list[str] = []
    for what, metric in (("violations per episode", "violations"), (f"the mean {first}", None)):
        before, after = _value(report, high, metric), _value(report, low, metric)
        sign = differ(after, before)
        span = f"({number(before.mean)} to {number(after.mean)})"
        if sign:
            share = f", by {percent(abs(after.mean / before.mean - 1))}" if before.mean > 0 else ""
            span = f"from {number(before.mean)} to {number(after.mean)}{share}"
        clauses.append(f"{what} {verbs[sign]} {span}")
    return f"With all of the weight moved from {first} to {second}, {clauses[0]}, and {clauses[1]}."


def trend(report: Report) -> str:
    """How steadily the violations follow the second objective's weight."""
    found = report.spearman
    if found is None:
        return ""
    span = (
        f"Spearman’s ρ {number(found.value)}, 95\u00a0% interval {number(found.low)} to {number(found.high)}"
    )
    second = plain(report.objectives[1])
    over = f"Over the {len(report.sweep)} weightings"
    if found.high < 0:
        return f"{over} violations fell as the weight on {second} rose ({span})."
    if found.low > 0:
        return f"{over} violations rose with the weight on {second}, which they should not ({span})."
    return f"{over} violations showed no clear trend with the weight on {second} ({span})."


def _coverage(report: Report) -> str:
    low, high = report.hypervolume_interval
    text = (
        f"The weightings together cover {percent(report.hypervolume_ratio)} (95\u00a0% interval "
        f"{percent(low)} to {percent(high)}) of the volume under the exact Pareto front of this story."
    )
    for name, ratio in report.other_ratios.items():
        text += f" Mixed by the {name} they cover {percent(ratio)}."
    if report.hypervolume_ratio > 1:
        text += " More than all is possible: the front is that of single plays, and a policy mixes them."
    return text


def _retraining(report: Report) -> str:
    if not report.retrained:
        return ""
    seconds = sum(p.seconds for p in report.retrained)
    once = f" beyond the {duration(report.learning_seconds)} of learning each objective once"
    return (
        f"Training anew for {len(report.retrained)} of the weightings took {duration(seconds)}; steering "
        f"took none{once if report.learning_seconds else ''}. {_against_retraining(report)}"
    ).strip()


def _against_retraining(report: Report) -> str:
    """Steered against retrained at equal weights, in utility of attainable ranges."""
    names = report.objectives
    low, high = ([ends[o] for o in names] for ends in (report.worst, report.best))
    span = np.array(high) - np.array(low)
    gaps: list[float] = []
    variances: list[float] = []
    for anew in report.retrained:
        weights = np.array([anew.weights.get(o, 0.0) for o in names])
        same = [
            p for p in report.sweep if np.allclose([p.weights.get(o, 0.0) for o in names], weights, atol=1e-6)
        ]
        if not same:
            continue
        points = [[p.returns[o] for o in names] for p in (same[0], anew)]
        steered, retrained = (rescale(points, low, high) @ weights).tolist()
        gaps.append(steered - retrained)
        errors = np.array([[p.stderr[o] for o in names] for p in (same[0], anew)])
        scaled = weights * np.where(span > 0, errors / np.where(span > 0, span, 1.0), 0.0)
        # Two objectives' errors add up at worst in full: the safe side.
        variances.append(float((scaled.sum(1) ** 2).sum()))
    if not gaps:
        return ""
    mean, error = float(np.mean(gaps)), math.sqrt(sum(variances)) / len(gaps)
    if abs(mean) <= NORMAL_95 * error:
        return "At the same weights the two were worth the same to the user, within the noise."
    better = "more" if mean > 0 else "less"
    return (
        f"At the same weights the steered policy was worth {percent(abs(mean))} of the attainable range "
        f"{better} to the user than the retrained one."
    )


def compare(report: Report, names: Sequence[str], against: str) -> str:
    """A sentence for each policy: where it differs measurably from another in the headline metrics."""
    sentences: list[str] = []
    for name in names:
        found = [(differ(report.normalised[name][m], report.normalised[against][m]), m) for m in HEADLINES]
        parts = [
            f"{word} {_listed([m for sign, m in found if sign == wanted])}"
            for wanted, word in ((1, "more"), (-1, "less"), (0, "no measurable difference in"))
            if any(sign == wanted for sign, _ in found)
        ]
        sentences.append(f"Against {against}, {name} shows {_listed(parts)}.")
    return " ".join(sentences)


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
