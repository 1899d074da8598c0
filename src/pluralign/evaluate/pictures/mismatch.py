"""Picture of objective mismatch: outcomes of runs against each of their figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.evaluate.pictures.figure import figure_file

if TYPE_CHECKING:
    from pluralign.evaluate.mismatch import Mismatch

_COLUMNS = 3


def draw_mismatch(found: Mismatch, path: Path) -> None:
    """Draw a panel for each figure, with its rank correlation.

    Args:
        found: Result of `find_mismatch`.
        path: File to write, .svg or .png.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    names = list(found.figures)
    rows = max(1, -(-len(names) // _COLUMNS))
    columns = max(1, min(len(names), _COLUMNS))
    with figure_file(path, (3.1 * columns, 2.6 * rows), {"font.size": 8}) as figure:
        panels: Any = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes, name in zip(panels, names, strict=False):
            axes.scatter(found.figures[name], found.outcomes, s=18, alpha=0.75, color="#0f766e")
            axes.set_xlabel(name)
            axes.set_title(f"rank correlation {found.correlations[name]}", fontsize=8)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        for axes in panels[::columns]:
            axes.set_ylabel("outcome")
