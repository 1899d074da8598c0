"""Figure of violation rates as a matrix, and of the line between two rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moralchoice_lib.data import RULES
from moralchoice_lib.tables import words
from pluralign.core.files import replace_when_whole


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw the heat map of the sweep, and the line between the two rules."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": "pluralign",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(13, 5.6), layout="constrained")
        heat, line = figure.subplots(1, 2, width_ratios=[1.75, 1])
        _draw_heat(figure, heat, report)
        _draw_line(line, report["line"])
        with replace_when_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], metadata={"Date": None})


def _draw_heat(figure: Any, axes: Any, report: Mapping[str, Any]) -> None:
    rows, rules = report["violation rates"], list(RULES)
    values = np.array([[row[r]["mean"] for r in rules] for row in rows.values()])
    base = values[list(rows).index("random")]
    relative = values / np.where(base > 0, base, 1.0)
    image = axes.imshow(relative, cmap="RdBu_r", vmin=0.0, vmax=2.0, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        own = list(rows)[y] == rules[x]
        dark = abs(relative[y, x] - 1.0) > 0.55
        text = {"color": "white" if dark else "#222222", "fontweight": "bold" if own else "normal"}
        axes.text(x, y, f"{100 * value:.1f}", ha="center", va="center", **text)
        if own:
            axes.add_patch(_box(x, y))
    axes.set_xticks(range(len(rules)), [words(r) for r in rules], rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), [words(name) for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("rule violated, % of held-out decisions")
    axes.set_ylabel("steering weight on")
    axes.set_title("Who violates what", loc="left", fontweight="bold")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.01)
    bar.set_label("times the random agent's rate")
    bar.outline.set_visible(False)


def _box(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, fill=False, edgecolor="#222222", linewidth=1.3)


def _draw_line(axes: Any, line: Mapping[str, Any]) -> None:
    one, other = line["rules"]
    for (name, points), marker, shade in zip(
        line["points"].items(), ("o", "s"), ("#1f5a96", "#c2641d"), strict=True
    ):
        x, y = ([100 * p[rule]["mean"] for p in points] for rule in (one, other))
        label = f"{name} mixture"
        axes.plot(x, y, marker=marker, color=shade, label=label, markersize=5, linewidth=1.4, alpha=0.9)
    for place, rule, offset in ((0, other, (8, 2)), (-1, one, (8, 2))):
        axes.annotate(
            f"all on {words(rule)}", (x[place], y[place]), textcoords="offset points", xytext=offset
        )
    axes.set_xlabel(f"{words(one)} violated, % of decisions")
    axes.set_ylabel(f"{words(other)} violated, % of decisions")
    axes.set_title(f"From {words(other)} to {words(one)} in tenths", loc="left", fontweight="bold")
    axes.margins(0.2)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
