"""Picture of searches under several budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.pictures.figure import figure_file

_COLOURS = {
    "beam": "#0f766e", "best-first": "#4338ca", "bavt": "#b45309", "ved": "#be123c", "parallel": "#737373",
}  # fmt: skip


def draw_search(
    rows: Sequence[Mapping[str, Any]],
    returns: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path,
    *,
    front: FloatArray | None = None,
    best_known: bool = False,
) -> None:
    """Draw what the plays are worth over what they cost; and the returns of the plays in the first two
    objectives, with the exact front if it is known.

    Args:
        rows: Figures of each side: ``method``, ``calls`` and ``worth`` (``SearchComparison.rows``).
        returns: Returns of the plays by method and objective.
        path: File to write, .svg or .png.
        front: Exact Pareto front, shape (points, objectives).
        best_known: Whether a worth of 1 is the best play.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    names = list(next(iter(returns.values())))[:2]
    panels = len(names)
    with figure_file(path, (4.4 * panels, 3.4), {}) as figure:
        axes: Any = figure.subplots(1, panels, squeeze=False)[0]
        _draw_worth(rows, best_known, axes[0])
        if len(names) == 2:
            _draw_returns(returns, names, front, axes[1])


def _draw_worth(rows: Sequence[Mapping[str, Any]], best_known: bool, panel: Any) -> None:
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        calls, worth = ([row[key]["mean"] for row in own] for key in ("calls", "worth"))
        ends = [(row["worth"].get("low"), row["worth"].get("high")) for row in own]
        gaps = [
            [0.0 if end is None else abs(end - mean) for end, mean in zip(side, worth, strict=True)]
            for side in zip(*ends, strict=True)
        ]
        panel.errorbar(
            calls, worth, yerr=gaps, marker="o", markersize=4, linewidth=1.3, capsize=2, label=method,
            color=_COLOURS.get(method),
        )  # fmt: skip
    if best_known:
        panel.axhline(1.0, color="0.3", linewidth=0.9, linestyle="--", label="best play")
    panel.set_xlabel("calls of choose")
    panel.set_ylabel("weighted sum, 0 worst, 1 best" if best_known else "weighted sum")
    panel.legend(frameon=False, fontsize=8)


def _draw_returns(
    returns: Mapping[str, Mapping[str, Sequence[float]]],
    names: Sequence[str],
    front: FloatArray | None,
    panel: Any,
) -> None:
    for method, own in returns.items():
        x, y = (own[name] for name in names)
        panel.scatter(x, y, s=18, alpha=0.7, color=_COLOURS.get(method), label=method)
    if front is not None and front.shape[1] == 2:
        panel.plot(
            front[:, 0], front[:, 1], color="0.3", linewidth=0.9, linestyle="--", marker=".",
            label="exact front",
        )  # fmt: skip
    panel.set_xlabel(names[0])
    panel.set_ylabel(names[1])
    panel.legend(frameon=False, fontsize=8)
