"""The poster's bar chart of headline metrics, and its figure of returns against weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.report.model import Report, WeightPoint
from pluralign.evaluate.report.picture import NORMAL_95, plain, wrapped
from pluralign.evaluate.report.style import KIND_COLOURS, blend_stand_in, stand_in
from pluralign.evaluate.report.words import followed, value_at


def draw_bars(report: Report, names: Sequence[str], figure: Any, narrow: bool) -> None:
    """The four headline metrics in per cent of the random agent's, with standard errors."""
    rows, columns = (4, 1) if narrow else (2, 2)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    figure.get_layout_engine().set(hspace=0.08, wspace=0.06)
    for i, metric in enumerate(HEADLINES):
        axes = panels[i // columns][i % columns]
        _draw_panel(axes, report, names, metric, narrow)
        if i % columns:
            axes.set_yticklabels([])


def _draw_panel(axes: Any, report: Report, names: Sequence[str], metric: str, narrow: bool) -> None:
    values = [report.normalised[name][metric] for name in names]
    places = np.arange(len(names))[::-1]
    reach = max([100.0, *(v.mean + v.stderr for v in values)])
    for place, name, value in zip(places, names, values, strict=True):
        colour = stand_in(KIND_COLOURS[report.kinds[name]])
        axes.barh(place, value.mean, height=0.66, color=colour, linewidth=0)
        ink = stand_in("ink")
        axes.errorbar(value.mean, place, xerr=value.stderr, fmt="none", ecolor=ink, elinewidth=1.0, capsize=2)
        axes.text(
            value.mean + value.stderr + 0.025 * reach,
            place,
            f"{value.mean:.0f}",
            va="center",
            color=stand_in("ink"),
            bbox={"facecolor": stand_in("paper"), "linewidth": 0, "pad": 0.6},
        )
    axes.axvline(100.0, color=stand_in("muted"), linewidth=0.8, linestyle=(0, (3, 3)), zorder=0.8)
    axes.set_yticks(places, [wrapped(name, narrow) for name in names])
    axes.tick_params(axis="y", length=0, labelcolor=stand_in("ink"))
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 1.14 * reach)
    better = "more is better" if metric == "score" else "less is better"
    axes.set_title(f"{metric}", loc="left", fontsize="medium", fontweight="bold", color=stand_in("ink"))
    axes.set_title(better, loc="right", fontsize="small", color=stand_in("muted"))


def draw_weights(report: Report, figure: Any, narrow: bool) -> None:
    """Returns of the first objective against the weight, and violations or returns of the second, with 95 %
    intervals."""
    first, second = report.objectives[:2]
    panels: Any = figure.subplots(*((2, 1) if narrow else (1, 2)), squeeze=False)
    above, below = panels.ravel().tolist()
    returns = [(p.returns[first], NORMAL_95 * p.stderr[first]) for p in report.sweep]
    _draw_line(
        above, report, [(m, m - e, m + e) for m, e in returns], [p.returns[first] for p in report.retrained]
    )
    above.set_title(f"{plain(first)}, mean return", loc="left", fontsize="medium", fontweight="bold")
    _, objective = followed(report)
    values = [value_at(p, objective) for p in report.sweep]
    _draw_line(
        below,
        report,
        [(v.mean, v.low, v.high) for v in values],
        [value_at(p, objective).mean for p in report.retrained],
    )
    title = "violations per episode" if objective is None else f"{plain(second)}, mean return"
    below.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    for axes in (above, below):
        axes.grid(True)
        axes.set_xlim(-0.04, 1.04)
        rest = f"  (1 − w on {plain(second)})" if len(report.objectives) == 2 else ""
        axes.set_xlabel(f"w, weight on {plain(first)}{rest}")


def _draw_line(
    axes: Any, report: Report, values: Sequence[tuple[float, float, float]], retrained: Sequence[float]
) -> None:
    first = report.objectives[0]
    weights = np.array([p.weights.get(first, 0.0) for p in report.sweep])
    mean, low, high = np.array(values).T
    if len(report.objectives) == 2:
        axes.fill_between(weights, low, high, color=stand_in("shade"), linewidth=0)
        axes.plot(weights, mean, color=stand_in("muted"), linewidth=1.1)
    else:
        # Several weightings share a weight on the first objective.
        axes.vlines(weights, low, high, color=stand_in("muted"), linewidth=1.0)
    for weight, value in zip(weights, mean, strict=True):
        colour = blend_stand_in(float(weight))
        axes.plot(weight, value, "o", color=colour, markersize=6.5, markeredgecolor=stand_in("paper"))
    for point, value in zip(report.retrained, retrained, strict=True):
        _draw_ring(axes, point, value, first)
    # For counts or scores per episode, the axis includes zero unless the values are far from it.
    if low.min() >= 0 and low.min() < high.max() / 2:
        axes.set_ylim(bottom=0)


def _draw_ring(axes: Any, point: WeightPoint, value: float, first: str) -> None:
    weight = point.weights.get(first, 0.0)
    look = {"markerfacecolor": "none", "markeredgecolor": blend_stand_in(weight), "markeredgewidth": 1.5}
    axes.plot(weight, value, "o", markersize=8.5, **look)
