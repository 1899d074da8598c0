"""Picture of objective mismatch: outcomes of runs against each of their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.evaluate.pictures.figure import figure_file
from pluralign.evaluate.rank_correlation import Correlation

_COLUMNS = 3


def draw_mismatch(
    outcomes: Sequence[float],
    figures: Mapping[str, Sequence[float]],
    correlations: Mapping[str, Correlation],
    path: Path,
) -> None:
    """Draw a panel for each figure, with its rank correlation.

    Args:
        outcomes: Outcome of each run.
        figures: Figures of the runs, by name.
        correlations: Rank correlation of each figure and the outcomes.
        path: File to write, .svg or .png.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    names = list(figures)
    rows = max(1, -(-len(names) // _COLUMNS))
    columns = max(1, min(len(names), _COLUMNS))
    with figure_file(path, (3.1 * columns, 2.6 * rows), {"font.size": 8}) as figure:
        panels: Any = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes, name in zip(panels, names, strict=False):
            axes.scatter(figures[name], outcomes, s=18, alpha=0.75, color="#0f766e")
            axes.set_xlabel(name)
            axes.set_title(f"rank correlation {correlations[name]}", fontsize=8)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        for axes in panels[::columns]:
            axes.set_ylabel("outcome")
