"""AVA's Table 1, its figure, and the numbers behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ava_lib.data import DEVELOPMENT
from pluralign.core.files import replace_when_whole, write_json
from pluralign.evaluate.statistics import estimate, estimate_clusters

METHODS = (
    "Bradley-Terry", "learned-variance BT", "Preference Transformer", "AVA-p", "AVA-p w/o rwt",
    "AVA-p w/o neg", "AVA-p w/o irl", "AVA-p w/o cer", "AVA-p w/o ptq", "AVA-d",
)  # fmt: skip
DATASETS = ("harmless", "helpful", "utilitarianism")
PAPER = {
    "Bradley-Terry": ("70.02", "69.39"),
    "Preference Transformer": ("70.26", "71.37"),
    "AVA-p": ("70.27", "72.37"),
    "AVA-p w/o rwt": ("70.06", "69.81"),
    "AVA-p w/o neg": ("70.54", "69.75"),
    "AVA-p w/o irl": ("69.48", "68.87"),
    "AVA-p w/o cer": ("70.06", "69.81"),
    "AVA-p w/o ptq": ("68.67", "68.51"),
    "AVA-d": ("70.54", "69.75"),
}
"""GPT-2 on harmless and helpful, from AVA's Table 1."""


def write_tables(found: Sequence[dict[str, Any]], stem: Path) -> None:
    """Write a .json, an .md and an .svg file of the finished tasks.

    Args:
        found: Results of the tasks.
        stem: Path of the files without their ends.
    """
    runs = [r for r in found if not r["task"]["key"].startswith("full")]
    unfinished = _unfinished(runs)
    table = [r for r in runs if r["task"]["method"] not in unfinished]
    untouched = [r for r in table if r["task"]["fold"] not in DEVELOPMENT]
    figures = {
        "rows": [row for d in DATASETS for m in METHODS if (row := _row(table, d, m)) is not None],
        "against_ava_p": [
            row for d in DATASETS for m in METHODS if (row := _against(table, d, m)) is not None
        ],
        # Without the folds on whose prompts settings were chosen.
        "untouched": [
            row for d in DATASETS for m in METHODS if (row := _against(untouched, d, m)) is not None
        ],
        "full": [_short(r) for r in found if r["task"]["key"].startswith("full")],
        # Families are in the tasks' files: a number for every test pair of every run.
        "runs": [{key: value for key, value in r.items() if key != "families"} for r in runs],
        "unfinished": unfinished,
    }
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_json(stem.with_suffix(".json"), figures)
    with replace_when_whole(stem.with_suffix(".md")) as temporary:
        temporary.write_text(_markdown(figures), "utf-8")
    _picture(figures, stem.with_suffix(".svg"))


def _unfinished(runs: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Number of runs of each method that others exceed: its folds are not those of the others."""
    done = Counter(r["task"]["method"] for r in runs)
    return {method: count for method, count in done.items() if count < max(done.values())}


def _right(result: dict[str, Any]) -> list[float]:
    return [{"1": 1.0, "0": 0.0, "=": 0.5}[mark] for mark in result["right"]]


def _families(by_fold: Mapping[int, dict[str, Any]], folds: Sequence[int]) -> list[tuple[int, int]]:
    """Family of each test pair: intervals are over families, whose pairs depend on each other."""
    return [(fold, family) for fold in folds for family in by_fold[fold]["families"]]


def _of(found: Sequence[dict[str, Any]], dataset: str, method: str) -> dict[int, dict[str, Any]]:
    return {
        r["task"]["fold"]: r
        for r in found
        if r["task"]["dataset"] == dataset and r["task"]["method"] == method
    }


def _row(found: Sequence[dict[str, Any]], dataset: str, method: str) -> dict[str, Any] | None:
    mine = _of(found, dataset, method)
    if not mine:
        return None
    right = [x for fold in sorted(mine) for x in _right(mine[fold])]
    values = estimate_clusters(right, _families(mine, sorted(mine)))
    return {
        "dataset": dataset, "method": method, "accuracy": values.mean, "low": values.low, "high": values.high,
        "seeds": len(mine), "pairs": sum(len(r["right"]) for r in mine.values()),
        "by_fold": {str(fold): r["accuracy"] for fold, r in sorted(mine.items())},
    }  # fmt: skip


def _against(found: Sequence[dict[str, Any]], dataset: str, method: str) -> dict[str, Any] | None:
    """AVA-p minus the method, pair by pair, on the folds that both have."""
    ours, theirs = _of(found, dataset, "AVA-p"), _of(found, dataset, method)
    folds = sorted(set(ours) & set(theirs))
    if method == "AVA-p" or not folds:
        return None
    by_fold = [
        [x - y for x, y in zip(_right(ours[fold]), _right(theirs[fold]), strict=True)] for fold in folds
    ]
    gap = estimate_clusters([one for own in by_fold for one in own], _families(ours, folds))
    found = {
        "dataset": dataset, "method": method, "difference": gap.mean, "low": gap.low, "high": gap.high,
        "folds": folds,
    }  # fmt: skip
    if len(folds) > 1:
        # Trainings differ by more than their test pairs.
        found["over_folds"] = estimate([float(np.mean(own)) for own in by_fold]).to_json()
    return found


def _short(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("right", "families")}


def _markdown(figures: dict[str, Any]) -> str:
    rows = {(row["dataset"], row["method"]): row for row in figures["rows"]}
    folds = max((row["seeds"] for row in figures["rows"]), default=0)
    lines = [
        "| method | harmless | helpful | utilitarianism | AVA's Table 1, GPT-2: harmless | helpful |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for method in _measured(figures["rows"]):
        cells = [_cell(rows.get((dataset, method)), folds) for dataset in DATASETS]
        paper = PAPER.get(method, ("", ""))
        lines.append(f"| {method} | {' | '.join(cells)} | {paper[0]} | {paper[1]} |")
    if figures["unfinished"]:
        begun = ", ".join(f"{method} ({count})" for method, count in figures["unfinished"].items())
        lines += ["", f"Not finished, and left out (number of runs): {begun}."]
    lines += ["", "AVA-p minus the method, percentage points, same pairs (95 % interval):", ""]
    lines += _gaps(figures["against_ava_p"])
    over = [
        {**row, "difference": own["mean"], "low": own["low"], "high": own["high"]}
        for row in figures["against_ava_p"]
        if (own := row.get("over_folds")) is not None
    ]
    if over:
        lines += [
            "",
            "The same as the mean of the folds' differences, each of two trainings (Student's interval):",
        ]
        lines += ["", *_gaps(over)]
    chosen = any(set(DEVELOPMENT) & set(row["folds"]) for row in figures["against_ava_p"])
    if chosen and figures["untouched"]:
        lines += ["", "The same without the folds on whose prompts settings were chosen:", ""]
        lines += _gaps(figures["untouched"])
    if figures["full"]:
        lines += ["", "Bradley-Terry through the whole trunk, ETHICS utilitarianism:", ""]
        for row in figures["full"]:
            lines.append(
                f"- fold {row['task']['fold']}: {100 * row['accuracy']:.1f} %, {row['pairs']} training pairs"
            )
    return "\n".join(lines) + "\n"


def _gaps(found: Sequence[dict[str, Any]]) -> list[str]:
    gaps = {(row["dataset"], row["method"]): row for row in found}
    lines = ["| method | harmless | helpful | utilitarianism |", "| --- | ---: | ---: | ---: |"]
    for method in _measured(found):
        cells = [_gap(gaps.get((dataset, method))) for dataset in DATASETS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def _measured(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [method for method in METHODS if any(row["method"] == method for row in rows)]


def _cell(row: dict[str, Any] | None, folds: int) -> str:
    if row is None:
        return ""
    seeds = "" if row["seeds"] == folds else f", {row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
    return f"{100 * row['accuracy']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f}{seeds})"


def _gap(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def _picture(figures: dict[str, Any], path: Path) -> None:
    plt.rcParams["svg.hashsalt"] = "pluralign"
    measured = _measured(figures["rows"])
    picture, axes = plt.subplots(1, 3, figsize=(11, 0.8 + 0.28 * max(4, len(measured))), sharey=True)
    for axis, dataset in zip(axes, DATASETS, strict=True):
        rows = {row["method"]: row for row in figures["rows"] if row["dataset"] == dataset}
        for place, method in enumerate(reversed(measured)):
            row = rows.get(method)
            if row is None:
                continue
            color = "#b3541e" if method.startswith("AVA") else "#33658a"
            axis.plot([100 * row["low"], 100 * row["high"]], [place, place], color=color, linewidth=2)
            axis.plot(100 * row["accuracy"], place, "o", color=color)
            folds = [100 * x for x in row["by_fold"].values()]
            axis.plot(folds, np.full(len(folds), place), "|", color=color, markersize=8)
        axis.set_title(dataset)
        axis.set_xlabel("accuracy on test pairs, %")
        axis.grid(axis="x", alpha=0.3)
        axis.set_ylim(-0.6, len(measured) - 0.4)
    axes[0].set_yticks(range(len(measured)), list(reversed(measured)))
    picture.tight_layout()
    with replace_when_whole(path) as temporary:
        picture.savefig(temporary, format="svg", metadata={"Date": None})
    plt.close(picture)
