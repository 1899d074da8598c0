"""Pictures of calibrated dials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pluralign.evaluate.pictures.figure import figure_file
from pluralign.steer.surrogate import Surrogate

_COLOURS = ("#0f766e", "#b45309", "#4338ca", "#be123c", "#4d7c0f", "#7e22ce", "#0369a1", "#525252")
_LINE = 101


def draw_dial(dial: Surrogate, path: Path) -> None:
    """Draw predicted and evaluated outcomes: one panel per objective, over its weight.

    The line shares the rest equally between the other objectives; with more than two, evaluated weightings
    off this line are small.

    Args:
        dial: The calibrated dial.
        path: File to write, .svg or .png.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    names = dial.objectives
    share = np.linspace(0.0, 1.0, _LINE)
    with figure_file(path, (2.9 * len(names), 2.7), {}) as figure:
        axes: Any = figure.subplots(1, len(names), squeeze=False)
        for place, (name, panel) in enumerate(zip(names, axes[0], strict=True)):
            line = np.repeat(((1.0 - share) / (len(names) - 1))[:, None], len(names), axis=1)
            line[:, place] = share
            predicted, evaluated = dial.predict(line), dial.weightings[:, place]
            near = np.abs(dial.weightings - _on_line(evaluated, place, len(names))).max(axis=1) < 1e-9
            colour = _COLOURS[place % len(_COLOURS)]
            panel.plot(share, predicted[:, place], color=colour, linewidth=1.6, label="predicted")
            panel.scatter(
                evaluated, dial.outcomes[:, place], s=np.where(near, 26.0, 9.0), color=colour, alpha=0.7,
                label="evaluated",
            )  # fmt: skip
            panel.set_xlabel(f"weight of {name}")
            panel.set_title(name, fontsize=10)
        axes[0][0].set_ylabel("outcome")
        axes[0][0].legend(frameon=False, fontsize=8)


def _on_line(weights: Any, place: int, objectives: int) -> Any:
    points = np.repeat(((1.0 - weights) / (objectives - 1))[:, None], objectives, axis=1)
    points[:, place] = weights
    return points
