"""Picture of the conflict between objectives, by prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pluralign.evaluate.pictures.figure import figure_file

if TYPE_CHECKING:
    from pluralign.evaluate.rewards.conflict import Conflict

_COLOURS = {"none": "#a3a3a3", "one": "#0f766e", "several": "#4338ca", "opposed": "#b45309"}


def draw_conflict(found: Conflict, path: Path) -> None:
    """Draw the first two objectives' deviations of each prompt, in units of the pooled ones, by kind.

    Args:
        found: Result of `find_conflict`.
        path: File to write, .svg or .png.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    pooled = np.sqrt((found.deviations**2).mean(axis=0))
    units = np.where(pooled > 0, pooled, 1.0)
    scaled = found.deviations / units
    kinds = np.array(found.kinds)
    with figure_file(path, (4.6, 4.6), {}) as figure:
        axes: Any = figure.subplots()
        for kind, share in found.shares.items():
            own = scaled[kinds == kind]
            axes.scatter(
                own[:, 0], own[:, 1], s=16, alpha=0.7, color=_COLOURS[kind], label=f"{kind} {share:.0%}"
            )
        for mark in (axes.axvline, axes.axhline):
            mark(found.threshold, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"{found.objectives[0]}: deviation within the prompt / all")
        axes.set_ylabel(f"{found.objectives[1]}: deviation within the prompt / all")
        # Above the points, which may be anywhere, and the thresholds' lines.
        axes.legend(
            frameon=False, fontsize=8, title="rewards that differ", title_fontsize=8, ncols=len(found.shares),
            loc="lower center", bbox_to_anchor=(0.5, 1.0),
        )  # fmt: skip
