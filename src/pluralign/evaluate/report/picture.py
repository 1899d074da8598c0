"""The figure of a sweep: steered policies in the plane of two objectives, with the exact front and
baselines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.core.pareto import pareto_front
from pluralign.evaluate.report.labels import Box, place_labels
from pluralign.evaluate.report.model import Report, WeightPoint
from pluralign.evaluate.report.style import KIND_COLOURS, KIND_MARKERS, blend_stand_in, stand_in

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class LabelText:
    """A label to be placed.

    Attributes:
        text: Text; several lines if it has line breaks.
        place: Point that it labels, in the axes' units.
        colour: Name of a colour of the style sheet.
    """

    text: str
    place: tuple[float, float]
    colour: str


def plain(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


def wrapped(name: str, narrow: bool) -> str:
    """A policy's name as a label; broken into lines on a narrow screen."""
    return textwrap.fill(name, 16, break_long_words=False) if narrow else name


def draw_picture(report: Report, figure: Any, narrow: bool) -> None:
    """Draw the plane of the first two objectives' mean returns: the exact front if known, the sweep coloured
    by weight with 95 % intervals, retrained agents as hollow marks, and the other policies with labels."""
    x, y = report.objectives[:2]
    axes: Any = figure.add_subplot()
    axes.grid(True)
    axes.set_xlabel(f"{plain(x)}, mean return per episode")
    axes.set_ylabel(f"{plain(y)}, mean return per episode")
    stairs = [_draw_front(axes, report, x, y)] if report.exact_front else []
    path = np.array([[p.returns[x], p.returns[y]] for p in report.sweep])
    # Of more objectives, neighbours in the list are not neighbours in weights.
    joined = len(report.objectives) == 2
    if joined:
        axes.plot(path[:, 0], path[:, 1], color=stand_in("muted"), linewidth=0.9, zorder=3)
    for points in report.other_sweeps.values():
        other = np.array([[p.returns[x], p.returns[y]] for p in points])
        style = ":" if joined else "."
        axes.plot(other[:, 0], other[:, 1], style, color=stand_in("muted"), linewidth=1.4, zorder=2.5)
    for point in report.sweep:
        _draw_point(axes, point, x, y, hollow=False)
    for point in report.retrained:
        _draw_point(axes, point, x, y, hollow=True)
    others = [name for name in report.policies if report.kinds[name] != "learned"]
    for name in others:
        colour = stand_in(KIND_COLOURS[report.kinds[name]])
        mean = report.policy_returns[name]
        _draw_error(axes, mean[x].mean, mean[y].mean, mean[x].stderr, mean[y].stderr, colour)
        marker = KIND_MARKERS[report.kinds[name]]
        edge = stand_in("paper")
        axes.plot(
            mean[x].mean, mean[y].mean, marker, color=colour, markersize=8, markeredgecolor=edge, zorder=7
        )
    _set_limits(axes, report, x, y, narrow)
    texts = [
        LabelText(f"w = {round(p.weights.get(x, 0.0), 3):g}", (p.returns[x], p.returns[y]), colour)
        for p, colour in zip(report.ends, ("second", "first"), strict=True)
    ]
    for name in others:
        mean = report.policy_returns[name]
        place = (mean[x].mean, mean[y].mean)
        texts.append(LabelText(wrapped(name, narrow), place, KIND_COLOURS[report.kinds[name]]))
    figure.draw_without_rendering()
    marks = _marks(report, x, y, axes.transData.transform)
    draw_labels(figure, axes, texts, marks, [*stairs, path] if joined else stairs, linespacing=1.05)


def _draw_front(axes: Any, report: Report, x: str, y: str) -> FloatArray:
    """Draw the staircase and the area below; return its corners. If there are more objectives, it is what can
    be attained in these two."""
    points = pareto_front([[p[x], p[y]] for p in report.exact_front])
    low_x, low_y = report.worst[x], report.worst[y]
    corners = [(low_x, points[0, 1])]
    for before, after in zip([corners[0], *points], points, strict=False):
        corners += [(before[0], after[1]), (after[0], after[1])]
    corners.append((points[-1, 0], low_y))
    stairs = np.array(corners)
    axes.fill_between(stairs[:, 0], stairs[:, 1], low_y, color=stand_in("shade"), linewidth=0, zorder=0.5)
    axes.plot(stairs[:, 0], stairs[:, 1], color=stand_in("ink"), linewidth=1.3, zorder=2)
    axes.plot(points[:, 0], points[:, 1], ".", color=stand_in("ink"), markersize=4, zorder=2)
    return stairs


def _draw_point(axes: Any, point: WeightPoint, x: str, y: str, *, hollow: bool) -> None:
    colour = blend_stand_in(point.weights.get(x, 0.0))
    _draw_error(axes, point.returns[x], point.returns[y], point.stderr[x], point.stderr[y], colour)
    axes.plot(
        point.returns[x],
        point.returns[y],
        "o",
        markersize=8.5 if hollow else 7.0,
        markerfacecolor=stand_in("paper") if hollow else colour,
        markeredgecolor=colour if hollow else stand_in("paper"),
        markeredgewidth=1.6 if hollow else 0.8,
        zorder=5 if hollow else 6,
    )


def _draw_error(axes: Any, x: float, y: float, error_x: float, error_y: float, colour: str) -> None:
    reach = {"xerr": NORMAL_95 * error_x, "yerr": NORMAL_95 * error_y}
    axes.errorbar(x, y, **reach, fmt="none", ecolor=colour, elinewidth=1.0, zorder=4)


def _set_limits(axes: Any, report: Report, x: str, y: str, narrow: bool) -> None:
    """Set limits with room for points and labels; the staircase extends beyond them."""
    rows: list[Mapping[str, float]] = [*report.exact_front]
    others = [p for points in report.other_sweeps.values() for p in points]
    rows += [p.returns for p in (*report.sweep, *report.retrained, *others)]
    rows += [
        {o: returns[o].mean for o in (x, y)}
        for name, returns in report.policy_returns.items()
        if name in report.policies
    ]
    points = np.array([[row[x], row[y]] for row in rows])
    low, high = points.min(0), points.max(0)
    span = np.where(high > low, high - low, 1.0)
    left = 0.2 if narrow else 0.09
    axes.set_xlim(low[0] - left * span[0], high[0] + 0.07 * span[0])
    axes.set_ylim(low[1] - 0.1 * span[1], high[1] + 0.1 * span[1])


def _marks(report: Report, x: str, y: str, to_pixels: Any) -> list[Box]:
    """Bounding boxes of all markers and their error bars, in pixels."""
    places = [
        (p.returns[x], p.returns[y], p.stderr[x], p.stderr[y]) for p in (*report.sweep, *report.retrained)
    ]
    places += [
        (r[x].mean, r[y].mean, r[x].stderr, r[y].stderr)
        for name, r in report.policy_returns.items()
        if name in report.policies
    ]
    marks: list[Box] = []
    for a, b, error_a, error_b in places:
        corners = np.array([(a, b), (a - NORMAL_95 * error_a, b - NORMAL_95 * error_b)])
        (left, low), (far_left, far_low) = to_pixels(corners).tolist()
        reach_x, reach_y = left - far_left, low - far_low
        marks.append(Box(left - 5, low - 5, left + 5, low + 5))
        marks.append(Box(left - reach_x - 2, low - 2, left + reach_x + 2, low + 2))
        marks.append(Box(left - 2, low - reach_y - 2, left + 2, low + reach_y + 2))
    return marks


def draw_labels(
    figure: Any, axes: Any, texts: Sequence[LabelText], marks: Sequence[Box], lines: Sequence[FloatArray],
    *, linespacing: float = 1.2,
) -> None:  # fmt: skip
    """Place a label near each point, off the marks and, if possible, off the lines.

    Args:
        figure: Figure whose layout is complete.
        axes: Axes of the points.
        texts: Labels.
        marks: Boxes in pixels that labels must not cover.
        lines: Corners of lines, each of shape (corners, 2), in the axes' units.
        linespacing: Line height, in units of the font size.
    """
    drawn = [
        axes.text(0, 0, t.text, color=stand_in(t.colour), zorder=9, linespacing=linespacing) for t in texts
    ]
    boxes = [artist.get_window_extent(figure.canvas.get_renderer()) for artist in drawn]
    frame, to_pixels = axes.get_window_extent(), axes.transData.transform
    labels = place_labels(
        [(float(x), float(y)) for x, y in to_pixels(np.array([t.place for t in texts]))],
        [(box.width + 4, box.height + 3) for box in boxes],
        Box(frame.x0 + 3, frame.y0 + 3, frame.x1 - 3, frame.y1 - 3),
        marks,
        np.concatenate([np.zeros((0, 2)), *(_along(to_pixels(line)) for line in lines)]),
    )
    # The layout is complete; moving texts inside the axes must not trigger it again.
    figure.set_layout_engine("none")
    from_pixels = axes.transData.inverted().transform
    for artist, label, text in zip(drawn, labels, texts, strict=True):
        box = label.box
        artist.set(ha="center", va="center")
        artist.set_position(from_pixels(((box.left + box.right) / 2, (box.bottom + box.top) / 2)))
        if len(label.leader):
            ends = from_pixels(label.leader[[0, -1]])
            axes.plot(ends[:, 0], ends[:, 1], color=stand_in(text.colour), linewidth=0.7, zorder=3)


def _along(corners: FloatArray) -> FloatArray:
    """Points every few pixels along a line."""
    pieces: list[FloatArray] = []
    for start, end in pairwise(corners):
        shares = np.linspace(0.0, 1.0, max(2, int(np.hypot(*(end - start)) / 4)))
        pieces.append(start + shares[:, None] * (end - start))
    return np.concatenate(pieces)
