"""Picture of searches under several budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.evaluate.pictures.figure import figure_file

if TYPE_CHECKING:
    from pluralign.evaluate.search import SearchComparison

_COLOURS = {
    "beam": "#0f766e", "best-first": "#4338ca", "bavt": "#b45309", "ved": "#be123c", "parallel": "#737373",
}  # fmt: skip


def draw_search(found: SearchComparison, path: Path) -> None:
    """Draw what the plays are worth over what they cost; and the returns of the plays in the first two
    objectives, with the exact front if it is known.

    Args:
        found: Result of `compare_searches`.
        path: File to write, .svg or .png.

    Raises:
        InputError: The file name ends in neither .svg nor .png.
    """
    names = list(found.scales)[:2]
    panels = len(names)
    with figure_file(path, (4.4 * panels, 3.4), {}) as figure:
        axes: Any = figure.subplots(1, panels, squeeze=False)[0]
        _draw_worth(found, axes[0])
        if len(names) == 2:
            _draw_returns(found, names, axes[1])


def _draw_worth(found: SearchComparison, panel: Any) -> None:
    rows = found.rows()
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
    if found.attainable is not None:
        panel.axhline(1.0, color="0.3", linewidth=0.9, linestyle="--", label="best play")
    panel.set_xlabel("calls of choose")
    panel.set_ylabel("weighted sum" if found.attainable is None else "weighted sum, 0 worst, 1 best")
    panel.legend(frameon=False, fontsize=8)


def _draw_returns(found: SearchComparison, names: list[str], panel: Any) -> None:
    for method in dict.fromkeys(side.method for side in found.sides):
        returns = [
            play.trajectory.returns() for side in found.sides if side.method == method for play in side.plays
        ]
        x, y = ([own[name] for own in returns] for name in names)
        panel.scatter(x, y, s=18, alpha=0.7, color=_COLOURS.get(method), label=method)
    if found.front is not None and found.front.shape[1] == 2:
        panel.plot(
            found.front[:, 0], found.front[:, 1], color="0.3", linewidth=0.9, linestyle="--", marker=".",
            label="exact front",
        )  # fmt: skip
    panel.set_xlabel(names[0])
    panel.set_ylabel(names[1])
    panel.legend(frameon=False, fontsize=8)
