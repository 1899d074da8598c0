"""Tables and figures of the finished seeds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from afd_lib.report import cell, write_table

from helpful_harmless_lib.across import over_seeds
from pluralign.core import InputError
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.evaluate.statistics import estimate

_OWN = {"seed", "report", "sweeps", "strengths"}
"""Settings in which seeds may differ; sides that a seed lacks are not taken together."""
JOINT, FROZEN = "joint heads", "frozen heads"


def write_report(out: Path, results: Path) -> None:
    """Write helpful_harmless.json and .md, and a figure of each sweep, for every seed in ``out``.

    Seeds and sweeps that ``results`` has from another working folder stay in it.

    Raises:
        InputError: Two seeds, or two sweeps of one, were run with different settings.
    """
    results.mkdir(parents=True, exist_ok=True)
    made = {path.stem: _without_prompts(read_json(path)) for path in out.glob("[0-9]*.json")}
    published = _published(results)
    known = [*published.values(), *made.values()]
    for one in known:
        _require_alike(known[0], one)
    figures = {seed: _joined(published.get(seed), made.get(seed)) for seed in sorted({*published, *made})}
    across = over_seeds(figures)
    write_json(results / "helpful_harmless.json", {**figures, **({"over_seeds": across} if across else {})})
    parts = [_markdown(seed, one) for seed, one in figures.items()]
    if across:
        parts.insert(0, _across_markdown(list(figures), across))
    with replace_when_whole(results / "helpful_harmless.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", "utf-8")
    for seed in made:
        for picture in sorted((out / seed).glob("sweep-*/picture.svg")):
            name = picture.parent.name.removeprefix("sweep-")
            shutil.copyfile(picture, results / f"helpful_harmless-{seed}-{name}.svg")


def _published(results: Path) -> dict[str, Any]:
    """The figures of each seed in a folder of results."""
    path = results / "helpful_harmless.json"
    found = read_json(path) if path.is_file() else {}
    return {seed: one for seed, one in found.items() if seed != "over_seeds"}


def _require_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse different settings. The first published seed lacks settings that came later."""
    mine, its = one["settings"], other["settings"]
    differ = [name for name in mine.keys() & its.keys() - _OWN if mine[name] != its[name]]
    if differ:
        raise InputError(
            f"seeds {mine['seed']} and {its['seed']} were run with different settings "
            f"({', '.join(sorted(differ))}); report them in different folders",
            field="results",
        )


def _joined(published: Mapping[str, Any] | None, made: Mapping[str, Any] | None) -> dict[str, Any]:
    """Figures of one seed with the sweeps of both, the later ones in the place of the earlier."""
    parts = [part for part in (published, made) if part is not None]
    found = {name: {k: v for part in parts for k, v in part[name].items()} for name in ("trained", "sweeps")}
    return {"settings": parts[-1]["settings"], **found}


def _without_prompts(one: Mapping[str, Any]) -> dict[str, Any]:
    """The figures without the rewards of each prompt, which are in the sweep's own report."""

    def point(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name != "by_prompt"}

    sweeps = {
        name: {
            **{key: sweep[key] for key in ("prompts", "scale")},
            "base": point(sweep["base"]),
            "sides": [{**side, "points": [point(row) for row in side["points"]]} for side in sweep["sides"]],
            **({"heads": costs} if (costs := head_costs(sweep)) else {}),
        }
        for name, sweep in one["sweeps"].items()
    }
    return {"settings": one["settings"], "trained": one["trained"], "sweeps": sweeps}


def _across_markdown(seeds: list[str], across: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"## Over {len(seeds)} training seeds ({', '.join(seeds)}); intervals are over seeds"]
    for name, sides in across.items():
        rows: list[tuple[str, ...]] = []
        for label, row in sides.items():
            shown = [
                text
                for key in ("hypervolume", "lead")
                for text in (
                    (", ".join(f"{value:.2f}" for value in row[key]["each"]), cell(row[key]))
                    if key in row
                    else ("", "")
                )
            ]
            rows.append((label, *shown))
        head = ("side", "hypervolume, each seed", "mean", "lead of the first side, each seed", "mean")
        lines += ["", f"### {name} policies", *write_table(head, rows)]
    return "\n".join(lines)


def _markdown(seed: str, one: Mapping[str, Any]) -> str:
    sizes = one["settings"]["sizes"]
    lines = [f"## Seed {seed}: {sizes['pairs']} pairs for each policy, {sizes['tests']} test prompts"]
    lines += write_table(
        ("trained", "validation accuracy", "minutes"),
        [
            (name, "" if row["accuracy"] is None else f"{row['accuracy']:.3f}", _minutes(row["seconds"]))
            for name, row in one["trained"].items()
        ],
    )
    for name, sweep in one["sweeps"].items():
        corner = ", ".join(f"{k} {v:.2f}" for k, v in sweep["scale"]["reference_point"].items())
        lines += ["", f"### {name} policies", "", f"Above the reference point ({corner}). {_verdict(sweep)}"]
        lines += write_table(
            ("side", "points", "on its front", "hypervolume", "lead of the first side"),
            [
                (
                    side["label"], str(len(side["points"])), str(len(side["front"])),
                    cell(side["hypervolume"]), cell(side["first_leads_by"]),
                )
                for side in sweep["sides"]
            ],
        )  # fmt: skip
        lines += write_table(
            ("side", "weight on helpful", "helpful", "harmless"),
            [
                (
                    side["label"], f"{row['weights']['helpful']:g}",
                    *(f"{row['normalised'][objective]:.2f}" for objective in ("helpful", "harmless")),
                )
                for side in sweep["sides"]
                for row in side["points"]
            ],
        )  # fmt: skip
        lines += _costs_table(sweep.get("heads", []))
    return "\n".join(lines)


def head_costs(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rewards of heads that have all the weight, minus those of the policy that was learned separately.

    Returns:
        For each set of heads and each objective with all the weight: the differences in each reward, in
        standard deviations of the base model's rewards, with intervals over prompts; empty without heads.
    """
    sides = {side["label"]: side["points"] for side in sweep["sides"]}
    found: list[dict[str, Any]] = []
    for label in (name for name in (JOINT, FROZEN) if name in sides):
        for objective in sweep["objectives"]:
            own, alone = (
                next(row for row in points if row["weights"][objective] == 1)
                for points in (sides[label], sweep["sides"][0]["points"])
            )
            differences = {
                name: asdict(
                    estimate(
                        (np.array(own["by_prompt"][name]) - np.array(alone["by_prompt"][name]))
                        / sweep["scale"]["unit"][name]
                    )
                )
                for name in sweep["objectives"]
            }
            found.append({"heads": label, "weight_on": objective, "differences": differences})
    return found


def _costs_table(costs: list[dict[str, Any]]) -> list[str]:
    if not costs:
        return []
    names = list(costs[0]["differences"])
    rows = [
        (row["heads"], row["weight_on"], *(cell(row["differences"][name]) for name in names)) for row in costs
    ]
    return [
        "", "One head alone, minus the policy that was learned for its objective separately (what heads, and",
        "their joint training, cost an objective), in standard deviations of the base model's rewards:",
        *write_table(("heads", "all the weight on", *(f"{name}, difference" for name in names)), rows),
    ]  # fmt: skip


def _verdict(sweep: Mapping[str, Any]) -> str:
    """Whether steering covers at least as much as rewarded soups of the same adapters."""
    first = sweep["sides"][0]
    found: list[str] = []
    for side in sweep["sides"]:
        if side["label"] == "rewarded soups":
            lead = side["first_leads_by"]
            at_least = "at least" if lead["mean"] >= 0 else "less than"
            certain = (
                "" if lead["low"] > 0 or lead["high"] < 0 else ", which its interval does not tell from 0"
            )
            found.append(
                f"{first['label'].capitalize()} covers {at_least} what rewarded soups do: the lead is "
                f"{cell(lead)}{certain}."
            )
    return " ".join(found)


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f}"
