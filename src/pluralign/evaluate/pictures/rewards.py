"""Scatter plots of posterior rewards against true rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.core.files import write_text
from pluralign.evaluate.pictures.figure import figure_file
from pluralign.evaluate.rewards.ranks import RewardRanks, RewardRows


@dataclass(frozen=True, eq=False)
class RewardPanel:
    """One scatter plot of a posterior and an objective.

    Args:
        title: Title above the plot.
        note: Text in a corner, such as a correlation.
        truth: True reward of each option, in the objective's unit.
        mean: Means of the posterior.
        sigma: Standard deviations of the posterior.
        taken: True at options that were taken in the data; others are drawn paler.
        label: Label of the horizontal axis.
    """

    title: str
    note: str
    truth: FloatArray
    mean: FloatArray
    sigma: FloatArray
    taken: Any
    label: str


def write_ranks(rows: RewardRows, ranks: RewardRanks, folder: Path) -> None:
    """Write a table of rank correlations and a figure: rewards.md and rewards.svg.

    Args:
        rows: Rewards of the posterior and true ones.
        ranks: Their rank correlations.
        folder: Output folder.
    """
    draw_ranks(rows, ranks, folder / "rewards.svg")
    picture = "![posterior mean with sigma against the true reward](rewards.svg)"
    text = f"# Posterior rewards against true ones\n\n{ranks.table()}\n\n{picture}\n"
    write_text(folder / "rewards.md", text)


def draw_ranks(rows: RewardRows, ranks: RewardRanks, path: Path) -> None:
    """`draw_rewards` of one posterior: a plot for each objective, with its rank correlation."""
    panels = [
        RewardPanel(
            name.replace("_", " "), f"Spearman {ranks.mean[name].spearman}", truth, rows.mean, rows.sigma,
            rows.visits > 0, "true reward",
        )
        for name, truth in rows.truth.items()
    ]  # fmt: skip
    draw_rewards([panels], path)


def draw_rewards(rows: Sequence[Sequence[RewardPanel]], path: Path) -> None:
    """Posterior means, with error bars of one sigma, against true rewards; the file's suffix selects SVG or
    PNG.

    Points are spread horizontally around their true reward, so that none hides another.

    Args:
        rows: Rows of panels, all of the same length.
        path: Output file.
    """
    with figure_file(path, (3.4 * len(rows[0]), 2.5 * len(rows)), {"font.size": 8}) as figure:
        grid: Any = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        for axes_row, panels in zip(grid, rows, strict=True):
            for axes, panel in zip(axes_row, panels, strict=True):
                _draw(axes, panel)
            axes_row[0].set_ylabel("posterior mean, nats")


def _draw(axes: Any, panel: RewardPanel) -> None:
    across = panel.truth + _spread(panel.truth)
    for chosen, colour in ((~panel.taken, "#9a9a9a"), (panel.taken, "#1f5a96")):
        x, y = across[chosen], panel.mean[chosen]
        bars = (y - panel.sigma[chosen], y + panel.sigma[chosen])
        axes.vlines(x, *bars, color=colour, linewidth=0.4, alpha=0.25)
        axes.scatter(x, y, s=5, color=colour, linewidths=0, alpha=0.8, zorder=3)
    axes.axhline(0.0, color="#888888", linewidth=0.6, linestyle=(0, (3, 3)), zorder=0.5)
    axes.set_title(panel.title, loc="left", fontweight="bold", fontsize=8)
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.0}
    axes.text(0.98, 0.03, panel.note, transform=axes.transAxes, ha="right", fontsize=7, bbox=box)
    axes.set_xlabel(panel.label)


def _spread(values: FloatArray) -> FloatArray:
    """Deterministic horizontal shifts, so that options with the same reward do not hide each other."""
    # Multiples of the golden ratio fill an interval evenly.
    places = np.arange(len(values), dtype=np.float64) * 0.6180339887 % 1.0
    return (places - 0.5) * (0.05 * np.ptp(values))
