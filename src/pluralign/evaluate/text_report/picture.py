"""The figure of a sweep over prompts: points of all sides in the plane of the first two objectives."""

from __future__ import annotations

from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.report.labels import Box
from pluralign.evaluate.report.picture import NORMAL_95, LabelText, draw_labels, plain
from pluralign.evaluate.report.style import stand_in
from pluralign.evaluate.sweeps.fronts import SideFront, TextFronts
from pluralign.evaluate.text_report.model import describe_weights

COLOURS = ("first", "second", "language", "learned", "cloned", "ink")
MARKERS = ("o", "s", "D", "^", "v", "P")
_DASHES = ("-", "-", (0, (5, 2)), (0, (1, 1.5)))


def look(number: int) -> tuple[str, str]:
    """Colour and marker of a side."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def draw_sides(fronts: TextFronts, figure: Any, narrow: bool, *, legend: bool = False) -> None:
    """Draw a line through each side's points in the order of weights, and the base model.

    Only the ends of the first line have whiskers (95 % intervals of a point's own means), because the others
    are about as long.

    Args:
        fronts: Sides on a common scale.
        figure: Figure to draw on.
        narrow: Whether the figure is for a narrow screen.
        legend: Whether to add a legend with the sides' names, if there is no page to name them.
    """
    axes: Any = figure.add_subplot()
    axes.grid(True)
    for set_label, name in zip((axes.set_xlabel, axes.set_ylabel), fronts.objectives, strict=False):
        set_label(f"{plain(name)}, mean reward" + ("" if narrow else " (base = 0, its deviation = 1)"))
    places: list[FloatArray] = [np.zeros((1, 2))]
    texts = [LabelText("base", (0.0, 0.0), "muted")]
    lines: list[FloatArray] = []
    for number, side in enumerate(fronts.sides):
        means = _draw_side(axes, side, number)
        places.append(means)
        if joins(side):
            lines.append(means)
        texts += _texts(fronts, side, look(number)[0], narrow)
    axes.plot(0, 0, "X", color=stand_in("muted"), markersize=8, markeredgecolor=stand_in("paper"), zorder=7)
    if legend:
        title = f"w is the weight on {plain(fronts.objectives[0])}"
        figure.legend(loc="outside lower center", ncols=3, frameon=False, title=title)
    points = np.concatenate(places)
    _set_limits(axes, fronts, points)
    figure.draw_without_rendering()
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in axes.transData.transform(points).tolist()]
    draw_labels(figure, axes, texts, marks, lines)


def joins(side: SideFront) -> bool:
    """Whether a line connects a side's points: they are a grid over two objectives' weights."""
    return len(side.points) > 1 and all(len(point.weights or ()) == 2 for point in side.points)


def _draw_side(axes: Any, side: SideFront, number: int) -> FloatArray:
    colour, marker = look(number)
    means, reach = side.means[:, :2], NORMAL_95 * side.stderr[:, :2]
    for i in (0, -1) if number == 0 else ():
        axes.errorbar(
            *means[i], xerr=reach[i, 0], yerr=reach[i, 1], fmt="none", ecolor=stand_in(colour),
            elinewidth=0.9, alpha=0.45, zorder=2,
        )  # fmt: skip
    if joins(side):
        dashes: Any = _DASHES[number % len(_DASHES)]
        axes.plot(*means.T, color=stand_in(colour), linewidth=1.3, linestyle=dashes, zorder=3 - number / 10)
    axes.plot(
        *means.T, marker, label=side.label, color=stand_in(colour), markersize=6.5 if number == 0 else 5.5,
        markeredgecolor=stand_in("paper"), markeredgewidth=0.7, zorder=6 - number / 10,
    )  # fmt: skip
    return means


def _texts(fronts: TextFronts, side: SideFront, colour: str, narrow: bool) -> list[LabelText]:
    """Weights along the first side's line and at the ends of the others; names at single points."""
    count = len(side.points)
    first = side is fronts.sides[0]
    kept = list(range(count)) if count <= 4 else []
    if joins(side):
        kept = [0, count // 2, count - 1] if first and not narrow else [0, count - 1]
    found: list[LabelText] = []
    for i in dict.fromkeys(kept):
        label = describe_weights(side.points[i].weights, fronts.objectives)
        name = f"w = {label}" if first or joins(side) else f"{side.label}, {label}"
        x, y = map(float, side.means[i, :2])
        found.append(LabelText(name, (x, y), colour))
    return found


def _set_limits(axes: Any, fronts: TextFronts, points: FloatArray) -> None:
    low, high = points.min(axis=0), points.max(axis=0)
    first = fronts.sides[0]
    for i in (0, -1):
        mean, reach = first.means[i, :2], NORMAL_95 * first.stderr[i, :2]
        low, high = np.minimum(low, mean - reach), np.maximum(high, mean + reach)
    room = 0.06 * np.where(high > low, high - low, 1.0)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
