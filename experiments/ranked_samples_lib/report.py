"""Rewards at equal KL, and the tables of the finished seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from afd_lib.report import cell, write_table
from console import write_page

from pluralign.core.files import read_json, write_json
from pluralign.evaluate.statistics import estimate, paired_difference

SHARES = (1.0, 0.5)
"""Shares of the largest KL that all methods reach, at which they are compared."""


def rewards_at(points: Sequence[Mapping[str, Any]], kl: float) -> np.ndarray:
    """Reward of each prompt where the mean KL along a method's curve first reaches a value.

    Rewards are interpolated between the two points around it. The first point is the base model.

    Args:
        points: Points in increasing strength, each with ``rewards`` and ``kl`` of every prompt.
        kl: KL divergence from the base model, nats, at most the curve's largest.
    """
    means = [float(np.mean(point["kl"])) for point in points]
    after = next(i for i, mean in enumerate(means) if i and mean >= kl)
    before = after - 1
    share = (kl - means[before]) / (means[after] - means[before]) if means[after] > means[before] else 1.0
    first, second = (np.array(points[i]["rewards"]) for i in (before, after))
    return (1 - share) * first + share * second


def compared(methods: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gains over the base model at equal KL, and leads over the first method, with intervals over prompts.

    There are none if some method has not moved from the base model. The intervals take the strength at which
    the mean KL is reached as known.

    Args:
        methods: Figures of each method; the first is what the others are compared with.
    """
    curves = {name: one["points"] for name, one in methods.items()}
    reached = min(max(float(np.mean(point["kl"])) for point in points[1:]) for points in curves.values())
    if reached <= 0:
        return []
    first = next(iter(curves))
    rows: list[dict[str, Any]] = []
    for share in SHARES:
        at = {name: rewards_at(points, share * reached) for name, points in curves.items()}
        for name, rewards in at.items():
            gain = paired_difference(rewards, np.array(curves[name][0]["rewards"]))
            lead = None if name == first else paired_difference(rewards, at[first]).to_json()
            rows.append({"method": name, "kl": share * reached, "gain": gain.to_json(), "lead": lead})
    return rows


def write_report(out: Path, results: Path, name: str) -> None:
    """Write NAME.json and NAME.md for every seed in ``out``."""
    found = {path.stem: read_json(path) for path in sorted(out.glob("[0-9]*.json"))}
    results.mkdir(parents=True, exist_ok=True)
    figures = {seed: _figures(one) for seed, one in found.items()}
    write_json(results / f"{name}.json", figures)
    write_page(results / f"{name}.md", _markdown(figures))


def _figures(one: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one seed; rewards and KLs as means over prompts."""

    def curve(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"strength": p["strength"], **{key: estimate(p[key]).to_json() for key in ("rewards", "kl")}}
            for p in points
        ]

    objectives = {
        name: {
            "lists": of["lists"],
            "methods": {
                method: {**row, "points": curve(row["points"])} for method, row in of["methods"].items()
            },
            "compared": compared(of["methods"]),
        }
        for name, of in one["objectives"].items()
    }
    return {"settings": one["settings"], "objectives": objectives}


def _markdown(figures: Mapping[str, Any]) -> list[str]:
    lines = [
        "# Ranked samples",
        "",
        "Rewards in the units of the model or program that gives them; intervals over test prompts.",
    ]
    for seed, one in figures.items():
        for name, of in one["objectives"].items():
            lines += ["", f"## Seed {seed}, {name}: {of['lists']} lists"]
            rows: list[tuple[str, ...]] = []
            for method, row in of["methods"].items():
                last, accuracy = row["points"][-1], row["accuracy"]
                held_out = "" if accuracy is None else f"{accuracy:.3f}"
                rows.append((method, held_out, cell(last["kl"]), cell(last["rewards"])))
            lines += write_table(("method", "validation accuracy", "KL", "reward"), rows)
            if not of["compared"]:
                lines += ["", "Not compared: some method has not moved from the base model."]
                continue
            head = ("at equal KL", "KL", "gain over the base model", "lead over best against worst")
            lines += write_table(
                head,
                [
                    (row["method"], f"{row['kl']:.2f}", cell(row["gain"]), cell(row["lead"]))
                    for row in of["compared"]
                ],
            )
    return lines
