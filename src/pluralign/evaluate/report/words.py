"""Sentences about the figures of a report; their wording depends on the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pluralign.core.pareto import rescale
from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.report.model import Report, WeightPoint
from pluralign.evaluate.report.picture import NORMAL_95, plain
from pluralign.evaluate.statistics import Estimate


def number(value: float) -> str:
    """Three significant digits, without exponent, with a minus sign."""
    if value == 0:
        return "0"
    decimals = max(0, min(3, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:z.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def pair(mean: float, stderr: float) -> tuple[str, str]:
    """A mean and its standard error, both to the second digit of the error."""
    if stderr <= 0:
        return number(mean), number(stderr)
    decimals = max(0, min(3, 1 - math.floor(math.log10(stderr))))
    return f"{mean:.{decimals}f}".replace("-", "−"), f"{stderr:.{decimals}f}"


def interval(value: Estimate, digits: int = 2) -> str:
    """A value with its 95 % interval."""
    return value.with_interval(digits).replace("-", "−")


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
    """1 if the first mean is measurably above the second, -1 if below, 0 if they differ by less than half of
    the widths of their 95 % intervals together (the root of the sum of squares, as if independent, which is
    conservative with common seeds). Those of few episodes are Student's (`statistics.FEW`)."""
    gap = first.mean - second.mean
    if abs(gap) <= math.hypot((first.high - first.low) / 2, (second.high - second.low) / 2):
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
    score = _change(report, report.objectives[0])
    first, second = (plain(o) for o in report.objectives[:2])
    turning = f"Shifting the weight from {first} to {second}"
    if not report.has_violations:
        return f"{turning} {_exchange(score, _change(report, report.objectives[1]), first, second)}"
    violations = _change(report, None)
    if violations < 0 < -score:
        return f"{turning} trades {first} for fewer violations, with no retraining"
    if violations < 0:
        return f"{turning} lowers the violations, with no retraining"
    if violations == 0:
        return f"{turning} made no measurable difference to the violations"
    return f"{turning} raised the violations: this run did not work"


def _exchange(first_change: int, second_change: int, first: str, second: str) -> str:
    if second_change < 0:
        return f"lowered {second}: this run did not work"
    if second_change == 0:
        return f"made no measurable difference to {second}"
    if first_change < 0:
        return f"trades {first} for {second}, with no retraining"
    return f"raises {second}, with no retraining"


def _change(report: Report, objective: str | None) -> int:
    """Sign of the change from the largest weight on the first objective to that on the second."""
    low, high = (value_at(point, objective) for point in report.ends)
    return differ(low, high)


def value_at(point: WeightPoint, objective: str | None) -> Estimate:
    """Mean return of an objective under one weighting, with a normal interval; for None, the violations."""
    if objective is None:
        return point.metrics["violations"]
    mean, error = point.returns[objective], point.stderr[objective]
    return Estimate(mean, error, mean - NORMAL_95 * error, mean + NORMAL_95 * error)


def followed(report: Report) -> tuple[str, str | None]:
    """The quantity that is compared with the second objective's weight, as text and as the argument of
    `value_at`: violations or, in a story without violations, the second objective's mean return."""
    second = report.objectives[1]
    return ("violations", None) if report.has_violations else (f"the mean {plain(second)}", second)


def _trade(report: Report) -> str:
    first = plain(report.objectives[0])
    low, high = report.ends
    verbs = {-1: "fell", 0: "did not change measurably", 1: "rose"}
    clauses: list[str] = []
    what, followed_value = followed(report)
    counted = "violations per episode" if followed_value is None else what
    for subject, objective in ((counted, followed_value), (f"the mean {first}", report.objectives[0])):
        before, after = value_at(high, objective), value_at(low, objective)
        sign = differ(after, before)
        span = f"({number(before.mean)} to {number(after.mean)})"
        if sign:
            share = f", by {percent(abs(after.mean / before.mean - 1))}" if before.mean > 0 else ""
            span = f"from {number(before.mean)} to {number(after.mean)}{share}"
        clauses.append(f"{subject} {verbs[sign]} {span}")
    return f"With {_moved(report)}, {clauses[0]}, and {clauses[1]}."


def _moved(report: Report) -> str:
    """The change of weights between the ends of the sweep."""
    first, second = report.objectives[:2]
    from_second, to_second = (point.weights.get(second, 0.0) for point in reversed(report.ends))
    to_first, from_first = (point.weights.get(first, 0.0) for point in report.ends)
    if min(from_first, to_second) > 1 - 1e-9:
        return f"all of the weight moved from {plain(first)} to {plain(second)}"
    return (
        f"the weight on {plain(first)} lowered from {number(from_first)} to {number(to_first)} and that on "
        f"{plain(second)} raised from {number(from_second)} to {number(to_second)}"
    )


def trend(report: Report) -> str:
    """How consistently violations, or the second objective's mean return, follow its weight."""
    found = report.spearman
    if found is None:
        return ""
    span = (
        f"Spearman’s ρ {number(found.value)}, 95\u00a0% interval {number(found.low)} to {number(found.high)}"
    )
    second = plain(report.objectives[1])
    what, objective = followed(report)
    over = f"Over the {len(report.sweep)} weightings {what}"
    if found.high < 0:
        fell = f"{over} fell as the weight on {second} rose"
        return f"{fell} ({span})." if objective is None else f"{fell}, which it should not ({span})."
    if found.low > 0:
        rose = f"{over} rose with the weight on {second}"
        return f"{rose}, which they should not ({span})." if objective is None else f"{rose} ({span})."
    return f"{over} showed no clear trend with the weight on {second} ({span})."


def _coverage(report: Report) -> str:
    if report.hypervolume_ratio is None or report.hypervolume_interval is None:
        return "Their share of the attainable volume is not known: the story’s states cannot be explored."
    low, high = report.hypervolume_interval
    text = (
        f"The weightings together cover {percent(report.hypervolume_ratio)} (95\u00a0% interval "
        f"{percent(low)} to {percent(high)}) of the volume under the exact Pareto front of this story."
    )
    for name, ratio in report.other_ratios.items():
        text += f" With the {name} they cover {percent(ratio)}."
    if report.hypervolume_ratio > 1:
        text += " More than 100 % is possible: the front is for deterministic policies, not mixtures."
    return text


def _retraining(report: Report) -> str:
    if not report.retrained:
        return ""
    seconds = sum(p.seconds for p in report.retrained)
    once = f" beyond the {duration(report.learning_seconds)} of learning each objective once"
    return (
        f"Retraining for {len(report.retrained)} of the weightings took {duration(seconds)}; steering "
        f"took none{once if report.learning_seconds else ''}. {_against_retraining(report)}"
    ).strip()


def _against_retraining(report: Report) -> str:
    """Steered against retrained policies at equal weights, by their utility in units of the attainable
    range."""
    if not report.best:
        return ""
    names = report.objectives
    low, high = ([ends[o] for o in names] for ends in (report.worst, report.best))
    span = np.array(high) - np.array(low)
    gaps: list[float] = []
    variances: list[float] = []
    for other in report.retrained:
        weights = np.array([other.weights.get(o, 0.0) for o in names])
        same = [
            p for p in report.sweep if np.allclose([p.weights.get(o, 0.0) for o in names], weights, atol=1e-6)
        ]
        if not same:
            continue
        points = [[p.returns[o] for o in names] for p in (same[0], other)]
        steered, retrained = (rescale(points, low, high) @ weights).tolist()
        gaps.append(steered - retrained)
        errors = np.array([[p.stderr[o] for o in names] for p in (same[0], other)])
        scaled = weights * np.where(span > 0, errors / np.where(span > 0, span, 1.0), 0.0)
        # The two objectives' errors may add up fully in the worst case, so the sum is conservative.
        variances.append(float((scaled.sum(1) ** 2).sum()))
    if not gaps:
        return ""
    mean, error = float(np.mean(gaps)), math.sqrt(sum(variances)) / len(gaps)
    if abs(mean) <= NORMAL_95 * error:
        return "At the same weights, the utilities of both did not differ measurably."
    better = "more" if mean > 0 else "less"
    return (
        f"At the same weights the steered policy was worth {percent(abs(mean))} of the attainable range "
        f"{better} to the user than the retrained one."
    )


def compare(report: Report, names: Sequence[str], against: str) -> str:
    """One sentence per policy: where it differs measurably from another policy in the headline metrics or, in
    a story without violations, in mean returns."""
    sentences: list[str] = []
    for name in names:
        measured, other = _measures(report, name), _measures(report, against)
        found = [(differ(measured[m], other[m]), m) for m in measured]
        parts = [
            f"{word} {_listed([m for sign, m in found if sign == wanted])}"
            for wanted, word in ((1, "more"), (-1, "less"), (0, "no measurable difference in"))
            if any(sign == wanted for sign, _ in found)
        ]
        sentences.append(f"Against {against}, {name} shows {_listed(parts)}.")
    return " ".join(sentences)


def _measures(report: Report, name: str) -> dict[str, Estimate]:
    if report.has_violations:
        return {metric: report.normalised[name][metric] for metric in HEADLINES}
    return {plain(o): report.policy_returns[name][o] for o in report.objectives}


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
