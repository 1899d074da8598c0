"""All figures of the experiment so far, without what no table or picture needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ethical_theories_lib.criterion import compare_with_references
from ethical_theories_lib.curve import places
from pluralign.core.files import read_json

METRICS = ("score", "violations", "power", "disutility")
PAGE = 160
"""Number of characters of the end of a page that are kept for each decision shown."""


def read_report(out: Path, raters: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Figures of the finished stages.

    Args:
        out: Working folder.
        raters: Names of the raters.
        seeds: Random seeds of their trainings; the tables of raters are those of the first.
    """
    files = [out / "figures" / f"{name}-{seeds[0]}.json" for name in raters]
    report: dict[str, Any] = {
        "raters": [
            {k: v for k, v in read_json(path).items() if k != "test margins"}
            for path in files
            if path.exists()
        ]
    }
    for name in ("agreement", "mutual", "variables", "adaptation", "trainings"):
        if (out / f"{name}.json").exists():
            report[name] = read_json(out / f"{name}.json")
    runs = {path.stem: read_json(path) for path in sorted((out / "agents").glob("*.json"))}
    if runs:
        report["agents"] = {name: _agents(run, name.endswith("-1")) for name, run in runs.items()}
        report["criterion"] = compare_with_references(by_story(runs))
    noise = {path.stem: read_json(path) for path in sorted((out / "noise").glob("*.json"))}
    if noise:
        report["noise"] = {
            story: _noise(
                content["rows"], [run for name, run in runs.items() if name.startswith(f"{story}-")]
            )
            for story, content in noise.items()
        }
    return _rounded(report)


def as_json(report: Mapping[str, Any]) -> str:
    """The report with one line for each part of a part; indented throughout, it would be twice as long."""
    parts: list[str] = []
    for name, part in report.items():
        text = json.dumps(part, ensure_ascii=False)
        if isinstance(part, dict):
            rows = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in part.items()]
            text = "{\n  " + ",\n  ".join(rows) + "\n }"
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def by_story(agents: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Figures of the agents, named STORY-SEED, by story."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, figures in agents.items():
        found.setdefault(name.rpartition("-")[0], []).append(figures)
    return found


def _agents(run: Mapping[str, Any], shows_decisions: bool) -> dict[str, Any]:
    """The metrics of every player and mixture; kinds of violations stay in the working folder."""
    found: dict[str, Any] = {
        "rater seed": run["rater seed"],
        "accuracy": run["accuracy"],
        "alone": {name: {m: row[m] for m in METRICS} for name, row in run["alone"].items()},
        "lines": {
            name: {
                "spearman": line["spearman"],
                "weight": [point["weights"][name] for point in line["points"]],
                **_columns(line["points"]),
            }
            for name, line in run["lines"].items()
        },
    }
    if "simplex" in run:
        points = run["simplex"]["points"]
        found["simplex"] = {
            **{name: value for name, value in run["simplex"].items() if name != "points"},
            "weights": {name: [point["weights"][name] for point in points] for name in points[0]["weights"]},
            **_columns(points),
        }
    if shows_decisions and "differing" in run:
        found["differing"] = {
            "theories": run["differing"]["theories"],
            "decisions": [{**row, "page": row["page"][-PAGE:]} for row in run["differing"]["decisions"]],
        }
    return found


def _columns(points: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    return {name: [point[name] for point in points] for name in ("score", "violations")}


def _noise(rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Agents from planted errors and from the raters' first trainings; those of further trainings, which are
    among the story's agents; and the raters' places on the curve."""
    kept = ("rater", "rater seed", "episodes", "seed", "random", "accuracy", "violations")
    first = {row["rater seed"] for row in rows}
    further = [
        {
            "rater": theory, "rater seed": run["rater seed"], "accuracy": accuracy,
            "violations": run["alone"][theory]["violations"], "random": run["alone"]["random"]["violations"],
        }
        for run in runs
        if run["rater seed"] not in first
        for theory, accuracy in run["accuracy"].items()
    ]  # fmt: skip
    return {
        "rows": [{name: row[name] for name in kept} for row in rows],
        "further trainings": further,
        "places": places([*rows, *further]),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
