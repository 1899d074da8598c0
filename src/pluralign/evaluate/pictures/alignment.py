"""Figures of alignment results: scores of methods, best-of-N curves, and separation by reward models.

They follow figures 3 and 4 of Inverse-RLignment and quantify its figure 2. The file's suffix selects SVG or
PNG; equal data give equal files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.evaluate.pictures.figure import figure_file
from pluralign.evaluate.rewards.best_of_n import kl_bound
from pluralign.evaluate.statistics import Estimate

_STYLE = {"font.size": 9, "axes.titlesize": 9.5}
# Okabe and Ito's colour-blind safe palette, without yellow, which is hard to see on white.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
_GREY = "#6b6b6b"
NORMALISED = "normalised golden reward"


@dataclass(frozen=True)
class Curve:
    """Best-of-N curve of one reward model; entry k is N = k + 1.

    Args:
        golden: Golden reward, normalised or not.
        win_rate: Win rate against the deterministic generation; None omits its panel.
    """

    golden: Sequence[Estimate]
    win_rate: Sequence[Estimate] | None = None


@dataclass(frozen=True, eq=False)
class HeatPanel:
    """A part of the separation table with its own heading.

    Args:
        title: Title above the panel.
        contrasts: Names of the columns.
        auc: AUCs from 0 to 1, or NaN if missing; shape (models, contrasts).
    """

    title: str
    contrasts: Sequence[str]
    auc: FloatArray


def draw_scores(panels: Mapping[str, Mapping[str, Estimate]], path: Path, *, label: str = NORMALISED) -> None:
    """Bars of golden rewards with their intervals, one panel per task (figure 3).

    Infinite intervals are not drawn.

    Args:
        panels: Scores, by title and method.
        path: Output file.
        label: Label of the axis. Normalised rewards get marks at base (0) and demonstrations (1).

    Raises:
        InputError: There is nothing to draw, or the file name ends in neither .svg nor .png.
    """
    if not panels or not all(panels.values()):
        raise InputError("there is no score to draw")
    rows = max(map(len, panels.values()))
    same = len({tuple(scores) for scores in panels.values()}) == 1
    longest = max(len(name) for scores in panels.values() for name in scores)
    size = (3.0 * len(panels) + 0.07 * longest * (1 if same else len(panels)), 1.2 + 0.34 * rows)
    with figure_file(path, size, _STYLE) as figure:
        grid: Any = figure.subplots(1, len(panels), squeeze=False)
        for number, (axes, (title, scores)) in enumerate(zip(grid[0], panels.items(), strict=True)):
            _bars(axes, scores, marked=label == NORMALISED)
            axes.set_yticks(np.arange(len(scores)), [""] * len(scores) if same and number else list(scores))
            axes.set_title(title, loc="left", fontweight="bold", pad=18)
        figure.supxlabel(f"{label}, with 95 % intervals", fontsize=9)


def _bars(axes: Any, scores: Mapping[str, Estimate], *, marked: bool) -> None:
    means = np.array([score.mean for score in scores.values()])
    ends = np.array([_whole(score) for score in scores.values()])
    places = np.arange(len(scores))
    axes.barh(places, means, height=0.62, color=_COLOURS[4], zorder=2)
    axes.errorbar(
        means, places, xerr=np.abs(ends.T - means), fmt="none", ecolor="#222222", elinewidth=1.1, capsize=2.5,
        zorder=3,
    )  # fmt: skip
    low, high = min(0.0, float(ends.min())), max(1.0 if marked else 0.0, float(ends.max()))
    room = high - low
    for place, score, (_, end) in zip(places, scores.values(), ends, strict=True):
        at = max(float(end), score.mean, 0.0) + 0.025 * room
        box = {"facecolor": "white", "linewidth": 0, "pad": 0.8, "alpha": 0.85}
        axes.text(
            at, place, f"{score.mean:.2f}".replace("-", "−"), va="center", fontsize=8, bbox=box, zorder=4
        )
    # Both marks may be close together, so their labels are on the outer sides.
    names = ((0.0, "base", "right"), (1.0, "demonstrations", "left")) if marked else ((0.0, "", "left"),)
    for value, label, side in names:
        axes.axvline(
            value, color=_GREY, linewidth=0.9, linestyle="-" if value == 0 else (0, (4, 2)), zorder=2.5
        )
        axes.annotate(
            label, (value, 1.0), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha=side, fontsize=8, color=_GREY,
        )  # fmt: skip
    axes.set_xlim(low - 0.04 * room, high + 0.2 * room)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(scores) - 0.45, -0.55)


def draw_curves(curves: Mapping[str, Curve], path: Path, *, label: str = NORMALISED) -> None:
    """Win rate and golden reward of best-of-N against N, with 95 % bands (figure 4).

    The upper axis shows the upper bound of the KL divergence from the sampled policy, in nats.

    Args:
        curves: Curves by reward model.
        path: Output file.
        label: Label of the golden reward's axis.

    Raises:
        InputError: There is nothing to draw, or the file name ends in neither .svg nor .png.
    """
    if not curves or not all(len(curve.golden) for curve in curves.values()):
        raise InputError("there is no curve to draw")
    wins = {name: c.win_rate for name, c in curves.items() if c.win_rate is not None}
    parts: list[tuple[str, Mapping[str, Sequence[Estimate]]]] = []
    if wins:
        parts.append(("win rate against one generation", wins))
    parts.append((label, {name: curve.golden for name, curve in curves.items()}))
    with figure_file(path, (4.1 * len(parts), 3.9), _STYLE) as figure:
        grid: Any = figure.subplots(1, len(parts), squeeze=False)
        looks = {name: _look(i) for i, name in enumerate(curves)}
        lines: dict[str, Any] = {}
        for axes, (title, family) in zip(grid[0], parts, strict=True):
            lines |= _lines(axes, family, looks)
            axes.set_ylabel(title)
            _axes_of_n(axes, max(len(estimates) for estimates in family.values()))
        if wins:
            grid[0][0].axhline(0.5, color=_GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        if label == NORMALISED:
            for value, name in ((0.0, "base"), (1.0, "demonstrations")):
                grid[0][-1].axhline(value, color=_GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
                place = grid[0][-1].get_yaxis_transform()
                grid[0][-1].text(
                    1.02, value, name, transform=place, ha="left", va="center", fontsize=8, color=_GREY
                )
        handles = [lines[name] for name in curves]
        columns = min(len(curves), 2 * len(parts))
        figure.legend(handles, list(curves), loc="outside lower center", ncols=columns, frameon=False)


def _lines(axes: Any, family: Mapping[str, Sequence[Estimate]], looks: Mapping[str, Any]) -> dict[str, Any]:
    lines: dict[str, Any] = {}
    for name, estimates in family.items():
        n = np.arange(1, len(estimates) + 1)
        colour, dashes = looks[name]
        ends = np.array([_whole(e) if _bounded(e) else (np.nan, np.nan) for e in estimates]).T
        marker = "o" if len(estimates) == 1 else ""
        means = [e.mean for e in estimates]
        lines[name] = axes.plot(
            n, means, color=colour, linestyle=dashes, marker=marker, linewidth=1.7, zorder=3
        )[0]
        axes.fill_between(n, *ends, color=colour, alpha=0.15, linewidth=0, zorder=2)
    return lines


def _axes_of_n(axes: Any, samples: int) -> None:
    """Add N on a logarithmic lower axis, and the bound in nats on the upper axis."""
    ticks = [2**k for k in range(int(math.log2(samples)) + 1)]
    while len(ticks) > 11:
        ticks = ticks[::2]
    right = max(samples, 2) ** 1.03
    nats = [kl_bound(n) for n in range(1, samples + 1)]
    step = next(s for s in (0.1, 0.25, 0.5, 1.0, 2.0) if nats[-1] / s < 7)
    marks = np.arange(0.0, nats[-1] + 1e-9, step)
    upper = axes.twiny()
    for one, places, labels in (
        (axes, ticks, [str(n) for n in ticks]),
        (upper, np.interp(marks, nats, np.arange(1, samples + 1)), [f"{mark:g}" for mark in marks]),
    ):
        one.set_xscale("log", base=2)
        one.set_xlim(0.97, right)
        one.set_xticks(places, labels)
        one.set_xticks([], minor=True)
    axes.set_xlabel("N")
    upper.spines["top"].set_visible(True)
    upper.spines["top"].set_color(_GREY)
    upper.tick_params(axis="x", colors=_GREY, labelsize=8)
    upper.set_xlabel("KL from the sampled policy, upper bound, nats", fontsize=8, color=_GREY)


def draw_separation(models: Sequence[str], panels: Sequence[HeatPanel], path: Path) -> None:
    """Heat map of AUCs; white is 0.5, where a reward does not separate two kinds of answers.

    Args:
        models: Names of the rows.
        panels: Panels from left to right, with the same rows.
        path: Output file.

    Raises:
        InputError: There is nothing to draw, the shapes differ, or the file name ends in neither .svg nor
            .png.
    """
    wanted = [(len(models), len(panel.contrasts)) for panel in panels]
    if (
        not panels
        or [np.shape(panel.auc) for panel in panels] != wanted
        or any(0 in shape for shape in wanted)
    ):
        raise InputError(f"expected non-empty tables of shapes {wanted}")
    columns = [len(panel.contrasts) for panel in panels]
    longest = max(len(name) for panel in panels for name in panel.contrasts)
    size = (1.9 + 0.62 * sum(columns) + 0.3 * len(panels), 1.3 + 0.42 * len(models) + 0.05 * longest)
    with figure_file(path, size, _STYLE) as figure:
        grid: Any = figure.subplots(1, len(panels), squeeze=False, width_ratios=columns)
        image: Any = None
        for number, (axes, panel) in enumerate(zip(grid[0], panels, strict=True)):
            image = _heat(axes, panel)
            axes.set_yticks(np.arange(len(models)), list(models) if number == 0 else [""] * len(models))
        bar = figure.colorbar(image, ax=list(grid[0]), fraction=0.03, pad=0.02, ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.set_label("AUC", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)


def _heat(axes: Any, panel: HeatPanel) -> Any:
    # Purple and orange differ in lightness, and in hue for every kind of colour vision.
    image: Any = axes.imshow(panel.auc, cmap="PuOr_r", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), value in np.ndenumerate(panel.auc):
        dark = abs(float(value) - 0.5) > 0.28
        text = "–" if math.isnan(value) else f"{value:.2f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "#222222"
        )
    axes.set_xticks(np.arange(len(panel.contrasts)), list(panel.contrasts), rotation=35, ha="right")
    axes.set_xticks(np.arange(len(panel.contrasts) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(panel.auc) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(panel.title, loc="left", fontweight="bold")
    return image


def _look(number: int) -> tuple[str, Any]:
    return _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _bounded(score: Estimate) -> bool:
    return math.isfinite(score.low) and math.isfinite(score.high)


def _whole(score: Estimate) -> tuple[float, float]:
    """Ends of the interval; the mean for both if one is infinite."""
    return (score.low, score.high) if _bounded(score) else (score.mean, score.mean)
