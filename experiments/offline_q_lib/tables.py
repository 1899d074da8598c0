"""Tables of values learned offline: means over seeds."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from afd_lib.report import over_runs
from console import write_page

from pluralign.core.files import write_json

Row = dict[str, Any]
COLUMNS = {
    "score, share of best": lambda row: row["score"]["greedy"] / row["score"]["best"],
    "harm avoidance": lambda row: row["harm_avoidance"]["greedy"],
    "expected minus exact, score": lambda row: row["score"]["expects"] - row["score"]["served"],
    "expected minus exact, harm": lambda row: (
        row["harm_avoidance"]["expects"] - row["harm_avoidance"]["served"]
    ),
    "hypervolume": lambda row: row["volume"],
    "options taken": lambda row: row.get("covered"),
}
"""Columns of the table by name."""


def write_results(rows: Sequence[Row], results: Path) -> None:
    """``offline_q_stories.json`` and ``offline_q_stories.md``.

    Args:
        rows: Figures of every way, number of episodes, story and seed.
        results: Folder of the result files.
    """
    results.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["way"], row["episodes"], row["story"]].append(row)
    cells = [
        {
            "way": way, "episodes": episodes, "story": story, "seeds": len(own),
            **{name: over_runs([column(row) for row in own]) or {} for name, column in COLUMNS.items()},
        }
        for (way, episodes, story), own in groups.items()
    ]  # fmt: skip
    write_json(results / "offline_q_stories.json", cells)
    lines = [
        "# Values learned offline",
        "",
        "`python experiments/offline_q_stories.py`",
        "",
        *textwrap.wrap(
            "Agents of score and harm avoidance, and models of any weights, learned from episodes of random "
            "play. Exact returns of the greedy choices of each objective's agent (score: share of the best "
            "attainable; harm avoidance: 0 is best); what the agent expects at the start minus the exact "
            "return of its choices as served; share of the story's options that the episodes took; "
            "hypervolume of eleven weightings in shares of the exact front. "
            "Means over seeds of play and training, 95 % intervals where there are two or more.",
            100,
        ),
        "",
        "| way | episodes | story | seeds | " + " | ".join(COLUMNS) + " |",
        "|---|---:|---|---:|" + "---:|" * len(COLUMNS),
    ]
    for cell in cells:
        figures = " | ".join(_cell(cell[name], name) for name in COLUMNS)
        lines.append(
            f"| {cell['way']} | {cell['episodes']} | {cell['story']} | {cell['seeds']} | {figures} |"
        )
    write_page(results / "offline_q_stories.md", lines)


def _cell(figure: Row, name: str) -> str:
    if not figure:
        return ""
    digits = 3 if name in ("score, share of best", "hypervolume", "options taken") else 1
    ends = f" ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})" if "low" in figure else ""
    return f"{figure['mean']:.{digits}f}{ends}"
