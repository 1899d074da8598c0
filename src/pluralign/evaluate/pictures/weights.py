"""Pictures of inferred weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.pictures.figure import figure_file


def draw_weights(
    objectives: Sequence[str], means: FloatArray, intervals: Mapping[str, tuple[float, float]], path: Path
) -> None:
    """Draw the weights of one person with their intervals.

    Args:
        objectives: Objectives, from the top.
        means: Posterior means, shape (objectives,).
        intervals: Credible interval of each weight.
        path: File to write, .svg or .png.
    """
    with figure_file(path, (5.6, 0.8 + 0.42 * len(objectives)), {}) as figure:
        axes: Any = figure.subplots()
        for row, (name, mean) in enumerate(zip(objectives, means, strict=True)):
            low, high = intervals[name]
            axes.plot(
                [low, high], [row, row], color="#0f766e", linewidth=6, alpha=0.35, solid_capstyle="butt"
            )
            axes.plot([mean], [row], "o", color="#0f766e")
        axes.set_yticks(range(len(objectives)), objectives)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.axvline(1 / len(objectives), color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xlabel("weight (mean and interval; dotted: all equal)")


def draw_people(objectives: Sequence[str], means: FloatArray, path: Path) -> None:
    """Draw how the weights of many people are distributed.

    Args:
        objectives: Objectives, from the top.
        means: Posterior means, shape (people, objectives).
        path: File to write, .svg or .png.
    """
    with figure_file(path, (5.6, 0.9 + 0.5 * len(objectives)), {}) as figure:
        axes: Any = figure.subplots()
        axes.boxplot(
            means, orientation="horizontal", widths=0.55, patch_artist=True, tick_labels=list(objectives),
            boxprops={"facecolor": "#99f6e4", "edgecolor": "#0f766e"}, medianprops={"color": "#0f766e"},
            flierprops={"markersize": 2, "markeredgecolor": "0.5"},
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.axvline(1 / len(objectives), color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"weights of {len(means)} people (dotted: all equal)")
