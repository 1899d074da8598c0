"""The report of an audit: one for a rater or a model, or several along a dial or over checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pluralign.core import SteeringWeights
from pluralign.evaluate.report.render import render, save_report
from pluralign.evaluate.report.svg import draw
from pluralign.evaluate.report.words import interval, percent
from pluralign.evaluate.values.answers import Consistency
from pluralign.evaluate.values.audit import ValueAudit
from pluralign.evaluate.values.drift import TopicDrift, total_drift
from pluralign.evaluate.values.pictures import draw_drift, draw_lotteries, draw_movement, draw_utilities

KIND = "values report"
VERSION = 1
# Outcomes that are listed in the table of utilities, from either end.
_LISTED = 25
# Rough size of figures, in inches.
_WIDE, _NARROW = 8.6, 3.9


@dataclass(frozen=True, eq=False)
class AuditPoint:
    """A rater, a model, a weighting or a checkpoint.

    Args:
        label: Name in tables.
        position: Position on the axis: a weight, or a number of steps; None for a single audit.
        audit: Preferences between outcomes, if they were asked for.
        stances: Agreement between both orders of questions about stances, if they were asked.
        weights: Weights of the mixture, if it is one.
    """

    label: str
    position: float | None = None
    audit: ValueAudit | None = None
    stances: Consistency | None = None
    weights: SteeringWeights | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "label": self.label,
            "position": self.position,
            "weights": None if self.weights is None else dict(self.weights),
            "audit": None if self.audit is None else self.audit.to_json(),
            "stances": None if self.stances is None else self.stances.to_json(),
        }


@dataclass(frozen=True, eq=False)
class ValuesReport:
    """Audits along an axis.

    Args:
        points: Audits, in the order of the axis.
        axis: Meaning of the positions; empty for a single audit.
        topics: Drift of stances by topic, if they were asked for.
        settings: Settings of the run.
        versions: Versions of the software.
        notes: Further remarks, one sentence each.
    """

    points: Sequence[AuditPoint]
    axis: str = ""
    topics: Sequence[TopicDrift] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "pluralign": KIND,
            "version": VERSION,
            "axis": self.axis,
            "points": [point.to_json() for point in self.points],
            "total_drift": total_drift(self.topics) if self.topics and len(self.points) > 1 else None,
            "topics": [topic.to_json() for topic in self.topics],
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    @property
    def audits(self) -> list[ValueAudit]:
        """Audits of outcomes."""
        return [point.audit for point in self.points if point.audit is not None]


def write_values_report(report: ValuesReport, folder: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder, each completely or not at all.

    Returns:
        Paths of both files.

    Raises:
        InputError: The folder cannot be written.
    """
    return save_report(folder, report.to_json(), make_page(report))


def describe_gate(found: Consistency, name: str, least: float) -> str:
    """Sentences about the agreement of both orders."""
    if found.order_free:
        return f"{name} scores each text by itself, so the order of the outcomes has no effect."
    said = (
        f"{name} gives the same answer in both orders for {percent(found.agreement)} of {found.pairs} pairs "
        f"(95 %: {percent(found.low)} to {percent(found.high)}), and names the first place in "
        f"{percent(found.first_place)} of its answers."
    )
    if found.agreement < least:
        said += f" Below {percent(least)} agreement nothing else is reported: these are no preferences."
    return said


def describe_preferences(audit: ValueAudit) -> list[str]:
    """Sentences about everything but the gate."""
    found = audit.preferences
    if found is None:
        return []
    gain = found.held_out.gain
    sentences = [
        f"Completeness, mean |2p − 1| of agreeing pairs (0 is indifference): {interval(found.completeness)}.",
        f"Held-out answers: log-loss {found.held_out.log_loss:.3f} (even odds 0.693, least possible "
        f"{found.held_out.least_log_loss:.3f}), gain over even odds {interval(gain, 3)}.",
    ]
    if found.utilities is None:
        sentences.append("Utilities predict held-out answers no better than even odds and are left out.")
    if found.cycles is not None:
        shuffled = found.cycles.shuffled
        sentences.append(
            f"P(cycle) over {found.cycles.triads} triples: {interval(found.cycles.probability)}; with the "
            f"directions shuffled {shuffled.mean:.2f} ({shuffled.low:.2f} to {shuffled.high:.2f})."
        )
    for name, test in (
        ("Drawn lotteries against their expected utilities", found.lotteries),
        ("Lotteries that an outcome implies", found.implied),
        ("Means against the ends that follow", found.instrumental),
    ):
        if test is not None:
            pearson = "undefined" if test.correlation is None else interval(test.correlation)
            sentences.append(
                f"{name} ({test.items}): correlation {pearson}, ordered alike "
                f"{interval(test.ordered_alike)}; chance is 0.5."
            )
    return sentences


def describe_point(point: AuditPoint) -> list[str]:
    """What an audit found, in a few sentences; those after the first of each kind are indented."""
    sentences: list[str] = []
    if point.audit is not None:
        sentences.append(
            describe_gate(point.audit.consistency, point.label, point.audit.config.least_agreement)
        )
        sentences += [f"  {line}" for line in describe_preferences(point.audit)]
        found = point.audit.preferences
        if found is not None and found.weights is not None:
            mean, ends = found.weights.mean, found.weights.interval
            own = [f"{name} {mean[name]:.2f} ({ends(name)[0]:.2f} to {ends(name)[1]:.2f})" for name in mean]
            sentences.append(f"  Implied weights with 90 % intervals: {', '.join(own)}")
    if point.stances is not None:
        sentences.append(f"On stances, {describe_gate(point.stances, point.label, 0.0)}")
    return sentences


def headline(report: ValuesReport) -> str:
    """Title of the page."""
    audits = report.audits
    if len(audits) == 1 and not report.axis:
        (audit,) = audits
        if not audit.passed:
            first = audit.consistency.first_place
            place, share = ("first", first) if first >= 0.5 else ("second", 1 - first)
            return f"{audit.name} has no stable preferences: it names the {place} place in {percent(share)}"
        if audit.preferences is not None and audit.preferences.utilities is None:
            return f"{audit.name} answers alike in both orders, but no utilities predict its answers"
        return f"{audit.name} has preferences that do not depend on the order"
    if not audits and len(report.points) == 1:
        number = len(report.topics)
        return f"Stances of {report.points[0].label} on {number} topic{'s' * (number != 1)}"
    if not audits and not report.topics:
        return f"Stances of {len(report.points)} models that lie on no axis"
    if not audits:
        return f"Stances move by {total_drift(report.topics):.2f} on average"
    passed = sum(audit.passed for audit in audits)
    return f"{passed} of {len(audits)} audits have preferences that do not depend on the order"


def make_page(report: ValuesReport) -> str:
    """The report as one HTML document."""
    least = next((audit.config.least_agreement for audit in report.audits), 0.6)
    one = report.audits[0] if len(report.audits) == 1 else None
    lead = describe_gate(one.consistency, one.name, least) if one else _describe_range(report)
    return render(
        "values.html",
        report=report, eyebrow="values", title=headline(report), lead=lead, least=least,
        measures=describe_preferences(one) if one else [], pictures=_pictures(report, one),
        utilities=_listed(one) if one else [], describe_gate=describe_gate,
        weights=[(p, p.audit.preferences.weights) for p in report.points
                 if p.audit and p.audit.preferences and p.audit.preferences.weights],
        settings={**report.settings, **report.versions},
    )  # fmt: skip


def _describe_range(report: ValuesReport) -> str:
    found = [own for p in report.points for own in (p.audit and p.audit.consistency, p.stances) if own]
    shares = sorted(own.agreement for own in found)
    between = percent(shares[0]) if len(shares) == 1 else f"{percent(shares[0])} to {percent(shares[-1])}"
    return f"Both orders of a question get the same answer in {between} of the cases."


def _listed(audit: ValueAudit) -> list[tuple[str, float, float]]:
    found = audit.preferences
    if found is None or found.utilities is None:
        return []
    fitted = found.utilities
    order: list[int] = (-fitted.mean).argsort().tolist()
    if len(order) > 2 * _LISTED:
        order = order[:_LISTED] + order[-_LISTED:]
    means, errors = fitted.mean.tolist(), fitted.stderr.tolist()
    return [(audit.outcomes[i].text, means[i], errors[i]) for i in order]


def _pictures(report: ValuesReport, one: ValueAudit | None) -> list[tuple[Markup, str]]:
    found: list[tuple[Markup, str]] = []

    def add(name: str, caption: str, make: Any, height: float, narrow: float = 0.0) -> None:
        picture = draw(name, caption, make, broad=(_WIDE, height), narrow=(_NARROW, narrow or height))
        found.append((picture, caption))

    preferences = None if one is None else one.preferences
    if one is not None and preferences is not None and preferences.utilities is not None:
        rows = min(30, len(one.outcomes))
        add(
            "utilities", "Utilities of outcomes with 95 % intervals; their mean is 0.",
            partial(draw_utilities, one), 1.0 + 0.22 * rows,
        )  # fmt: skip
        if preferences.lotteries is not None:
            add(
                "lotteries", "Utility of each lottery against its expected utility; on the line they agree.",
                partial(draw_lotteries, preferences.lotteries), 4.2,
            )  # fmt: skip
    moving = [point for point in report.points if point.position is not None and point.audit is not None]
    if len(moving) > 1:
        positions = [float(point.position or 0.0) for point in moving]
        audits = [point.audit for point in moving if point.audit is not None]
        add(
            "movement", "Agreement of both orders, and utilities of the outcomes that move most.",
            partial(draw_movement, positions, audits, report.axis), 4.6, 6.6,
        )  # fmt: skip
    if report.topics and len(report.points) > 1:
        positions = [float(point.position or 0.0) for point in report.points]
        caption = "Probability of the supporting answer, for the topics that move most."
        add("drift", caption, partial(draw_drift, report.topics, positions, report.axis), 4.6, 5.2)
    return found
