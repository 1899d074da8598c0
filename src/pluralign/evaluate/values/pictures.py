"""Figures of audits: utilities, lotteries, and what moves along a dial or over checkpoints."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from pluralign.evaluate.report.picture import NORMAL_95
from pluralign.evaluate.report.style import stand_in
from pluralign.evaluate.values.audit import ValueAudit
from pluralign.evaluate.values.coherence import Agreement
from pluralign.evaluate.values.drift import TopicDrift

_OUTCOMES = 30
_LINES = 6
_COLOURS = ("first", "second", "language", "learned", "cloned", "ink")
_DASHES: tuple[Any, ...] = ("-", "-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), "-")


def draw_utilities(audit: ValueAudit, figure: Any, narrow: bool) -> None:
    """Utilities with 95 % intervals, from the highest; the ends if there are many outcomes."""
    assert audit.preferences is not None
    fitted = audit.preferences.utilities
    assert fitted is not None
    order = (-fitted.mean).argsort()
    if len(order) > _OUTCOMES:
        order = np.concatenate([order[: _OUTCOMES // 2], order[-(_OUTCOMES // 2) :]])
    places = np.arange(len(order))[::-1]
    mean, reach = fitted.mean[order], NORMAL_95 * fitted.stderr[order]
    axes: Any = figure.add_subplot()
    axes.grid(True, axis="x")
    axes.hlines(places, mean - reach, mean + reach, color=stand_in("second"), linewidth=1.2)
    axes.plot(mean, places, "o", color=stand_in("second"), markersize=5, markeredgecolor=stand_in("paper"))
    axes.axvline(0.0, color=stand_in("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    width = 26 if narrow else 64
    rows: list[int] = order.tolist()
    texts = [audit.outcomes[i].text for i in rows]
    axes.set_yticks(places, [textwrap.shorten(text, width, placeholder=" …") for text in texts])
    axes.tick_params(axis="y", length=0, labelcolor=stand_in("ink"))
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlabel("utility")


def draw_lotteries(found: Agreement, figure: Any, narrow: bool) -> None:
    """Utilities of lotteries against their expected utilities."""
    axes: Any = figure.add_subplot()
    axes.grid(True)
    ends = [min(*found.given, *found.expected), max(*found.given, *found.expected)]
    axes.plot(ends, ends, color=stand_in("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    axes.plot(
        found.expected,
        found.given,
        "o",
        color=stand_in("first"),
        markersize=5,
        markeredgecolor=stand_in("paper"),
    )
    axes.set_xlabel("expected utility of its outcomes")
    axes.set_ylabel("utility of the lottery")


def draw_movement(
    positions: Sequence[float], audits: Sequence[ValueAudit], axis: str, figure: Any, narrow: bool
) -> None:
    """Agreement of both orders, and the utilities that move most, where they are known."""
    above, below = figure.subplots(*((2, 1) if narrow else (1, 2)), squeeze=False).ravel().tolist()
    rows = [audit.consistency for audit in audits]
    above.fill_between(positions, [r.low for r in rows], [r.high for r in rows], color=stand_in("shade"))
    above.plot(positions, [r.agreement for r in rows], "o-", color=stand_in("second"), markersize=5)
    floor = audits[0].config.least_agreement
    above.axhline(floor, color=stand_in("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    above.set_ylim(-0.03, 1.03)
    above.set_title("agreement of both orders", loc="left", fontsize="medium", fontweight="bold")
    known = [
        (position, audit.preferences.utilities)
        for position, audit in zip(positions, audits, strict=True)
        if audit.preferences is not None and audit.preferences.utilities is not None
    ]
    below.set_title("utilities", loc="left", fontsize="medium", fontweight="bold")
    if len(known) > 1:
        means = np.stack([utilities.mean for _, utilities in known])
        most: list[int] = (-np.ptp(means, axis=0)).argsort()[:_LINES].tolist()
        for line, item in enumerate(most):
            text = textwrap.shorten(audits[0].outcomes[item].text, 26 if narrow else 38, placeholder=" …")
            _line(below, [position for position, _ in known], means[:, item], line, text)
        figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=1 if narrow else 2)
    else:
        below.text(0.5, 0.5, "not known at two points", ha="center", transform=below.transAxes)
    for axes in (above, below):
        axes.grid(True)
        axes.set_xlabel(axis)


def draw_drift(
    topics: Sequence[TopicDrift], positions: Sequence[float], axis: str, figure: Any, narrow: bool
) -> None:
    """Stances on the topics that move most."""
    axes: Any = figure.add_subplot()
    axes.grid(True)
    most = sorted(topics, key=lambda topic: -abs(topic.magnitude.mean))[:_LINES]
    for line, topic in enumerate(most):
        _line(axes, positions, np.array(topic.support), line, topic.topic)
    axes.set_ylabel("probability of support")
    axes.set_xlabel(axis)
    figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=1 if narrow else 3)


def _line(axes: Any, positions: Sequence[float], values: Any, line: int, label: str) -> None:
    colour = stand_in(_COLOURS[line % len(_COLOURS)])
    axes.plot(
        positions, values, marker="o", markersize=4, linewidth=1.3, color=colour, label=label,
        linestyle=_DASHES[line % len(_DASHES)], markeredgecolor=stand_in("paper"),
    )  # fmt: skip
