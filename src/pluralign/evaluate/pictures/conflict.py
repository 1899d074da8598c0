"""Picture of the conflict between objectives, by prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.pictures.figure import figure_file

_COLOURS = {"none": "#a3a3a3", "one": "#0f766e", "several": "#4338ca", "opposed": "#b45309"}


def draw_conflict(
    objectives: Sequence[str],
    deviations: FloatArray,
    kinds: Sequence[str],
    shares: Collection[tuple[str, float]],
    threshold: float,
    path: Path,
) -> None:
    """Draw the first two objectives' deviations of each prompt, in units of the pooled ones, by kind.

    Args:
        objectives: Names of the objectives.
        deviations: Standard deviation of each reward over a prompt's samples, shape (prompts, objectives).
        kinds: Kind of each prompt.
        shares: Kinds and their shares of the prompts, in the order of the legend.
        threshold: Deviation from which on a reward differs, in units of the pooled one.
        path: File to write, .svg or .png.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    pooled = np.sqrt((deviations**2).mean(axis=0))
    units = np.where(pooled > 0, pooled, 1.0)
    scaled = deviations / units
    of_kind = np.array(kinds)
    with figure_file(path, (4.6, 4.6), {}) as figure:
        axes: Any = figure.subplots()
        for kind, share in shares:
            own = scaled[of_kind == kind]
            axes.scatter(
                own[:, 0], own[:, 1], s=16, alpha=0.7, color=_COLOURS[kind], label=f"{kind} {share:.0%}"
            )
        for mark in (axes.axvline, axes.axhline):
            mark(threshold, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"{objectives[0]}: deviation within the prompt / all")
        axes.set_ylabel(f"{objectives[1]}: deviation within the prompt / all")
        # Above the points, which may be anywhere, and the thresholds' lines.
        axes.legend(
            frameon=False, fontsize=8, title="rewards that differ", title_fontsize=8, ncols=len(shares),
            loc="lower center", bbox_to_anchor=(0.5, 1.0),
        )  # fmt: skip
