"""Posterior rewards against true ones, drawn."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.core.files import replace_when_whole
from pluralign.evaluate.statistics import FloatArray

_STYLE = {
    "svg.hashsalt": "pluralign",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, eq=False)
class RewardPanel:
    """One scatter plot: a posterior and an objective.

    Args:
        title: above it.
        note: in small beside the title: a correlation.
        truth: true reward of each option, in the objective's unit.
        mean: of the posterior.
        sigma: its standard deviation.
        taken: True at options that the data took; the others are drawn paler.
        label: of the horizontal axis.
    """

    title: str
    note: str
    truth: FloatArray
    mean: FloatArray
    sigma: FloatArray
    taken: Any
    label: str


def draw_rewards(rows: Sequence[Sequence[RewardPanel]], path: Path) -> None:
    """Posterior mean, with a bar of one sigma either way, against the true reward; SVG or PNG by the name.

    Args:
        rows: of panels, all of the same length.
        path: the file.
    """
    # Slow to import, and not needed by those who only compute.
    mpl: Any = importlib.import_module("matplotlib")
    drawing: Any = importlib.import_module("matplotlib.figure")
    with mpl.rc_context(_STYLE):
        figure = drawing.Figure(figsize=(3.1 * len(rows[0]), 2.5 * len(rows)), layout="constrained")
        grid: Any = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        for axes_row, panels in zip(grid, rows, strict=True):
            for axes, panel in zip(axes_row, panels, strict=True):
                _draw(axes, panel)
            axes_row[0].set_ylabel("posterior mean, nats")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with replace_when_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata, dpi=150)


def _draw(axes: Any, panel: RewardPanel) -> None:
    for chosen, colour, alpha in ((~panel.taken, "#9a9a9a", 0.25), (panel.taken, "#1f5a96", 0.45)):
        axes.errorbar(
            panel.truth[chosen],
            panel.mean[chosen],
            yerr=panel.sigma[chosen],
            fmt="o",
            markersize=2.2,
            elinewidth=0.4,
            color=colour,
            ecolor=colour,
            alpha=alpha,
            markeredgewidth=0,
        )
    axes.axhline(0.0, color="#888888", linewidth=0.6, linestyle=(0, (3, 3)), zorder=0.5)
    axes.set_title(panel.title, loc="left", fontweight="bold", fontsize=8)
    axes.set_title(panel.note, loc="right", fontsize=7, color="#555555")
    axes.set_xlabel(panel.label)
