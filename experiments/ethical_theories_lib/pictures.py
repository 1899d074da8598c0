"""Pictures of the experiment: how good a judge must be, and mixtures of four agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ethical_theories_lib.curve import PLANTED, fit_curve
from pluralign.core.files import replace_when_whole

COLOURS = {"utilitarianism": "#b3541e", "justice": "#33658a", "deontology": "#5b8e3e", "virtue": "#7b4f9d"}
MARKERS = {"utilitarianism": "o", "justice": "s", "deontology": "^", "virtue": "D"}


def draw_noise(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Violations over the judge's accuracy: agents from planted errors, their curve, the raters' agents."""
    picture, axes = _panels(len(found))
    for axis, (story, content) in zip(axes, found.items(), strict=False):
        rows = [*content["rows"], *content["further trainings"]]
        grid = np.linspace(min(row["accuracy"] for row in rows) - 0.01, 0.94, 60)
        mean, low, high = fit_curve(rows).predict(grid)
        axis.fill_between(100 * grid, low, high, color="#bbbbbb", alpha=0.4, linewidth=0)
        axis.plot(100 * grid, mean, color="#555555", linewidth=1.2, label="planted errors")
        for name in dict.fromkeys(row["rater"] for row in rows):
            own = [row for row in rows if row["rater"] == name]
            x = [100 * row["accuracy"] for row in own]
            y = [row["violations"] / row["random"] for row in own]
            if name.startswith(PLANTED):
                axis.plot(x, y, ".", color="#888888", markersize=4)
            else:
                axis.plot(x, y, MARKERS.get(name, "o"), color=COLOURS.get(name), markersize=5, label=name)
        axis.axhline(1.0, color="#999999", linewidth=0.6, linestyle=":")
        axis.set_title(story.replace("_", " "))
        axis.set_xlabel("pairs that the labels order rightly, %")
        axis.set_ylabel("violations, share of random play's")
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize=8, frameon=False)
    _save(picture, path)


def draw_simplex(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Score and violations of all mixtures of four agents, mean over seeds; colours are the weight on score.

    Args:
        found: Figures of the agents (`report.read_report`), by story, one for each seed.
        path: Output file.
    """
    picture, axes = _panels(len(found))
    shown = None
    for axis, (story, runs) in zip(axes, found.items(), strict=False):
        score, violations = (
            np.mean([run["simplex"][name] for run in runs], axis=0) for name in ("score", "violations")
        )
        weights = runs[0]["simplex"]["weights"]
        shown = axis.scatter(score, violations, c=weights["score"], cmap="viridis", vmin=0, vmax=1, s=24)
        for corner, own in weights.items():
            point = (score[own.index(1)], violations[own.index(1)])
            axis.plot(*point, "o", markersize=9, markerfacecolor="none", markeredgecolor="black")
            box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
            place = {"xytext": (7, -11 if corner == "deontology" else 5), "textcoords": "offset points"}
            axis.annotate(corner, point, fontsize=8, bbox=box, **place)
        axis.set_title(story.replace("_", " "))
        axis.set_xlabel("score")
        axis.set_ylabel("violations")
        axis.margins(x=0.15)
    if shown is not None:
        picture.colorbar(shown, ax=list(axes), label="weight on score", shrink=0.8)
    _save(picture, path)


def _panels(count: int) -> tuple[Any, list[Any]]:
    plt.rcParams["svg.hashsalt"] = "pluralign"
    columns = min(count, 2)
    rows = (count + columns - 1) // columns
    picture, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 3.7 * rows), squeeze=False, layout="constrained"
    )
    flat = list(axes.ravel())
    for axis in flat[count:]:
        axis.set_visible(False)
    return picture, flat[:count]


def _save(picture: Any, path: Path) -> None:
    with replace_when_whole(path) as temporary:
        picture.savefig(temporary, format="svg", metadata={"Date": None})
    plt.close(picture)
