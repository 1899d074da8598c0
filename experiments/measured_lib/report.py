"""Tables and pictures of the finished seeds of the measured texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from afd_lib.report import cell, write_table
from console import write_page

from measured_lib.across import STEERED, Across, Lead, of_seeds
from measured_lib.measures import QUALITIES
from pluralign.core import SteeringWeights
from pluralign.core.files import read_json, write_json
from pluralign.evaluate.sweeps.fronts import compare_sides
from pluralign.evaluate.sweeps.texts import TextPoint
from pluralign.evaluate.text_report.model import TextReport
from pluralign.evaluate.text_report.page import write_text_picture
from pluralign.folders.card import CARD, load_card

SHOWN = 4
"""Number of test prompts whose answers are shown side by side."""


def write_report(out: Path, results: Path, stem: str) -> None:
    """Write a JSON file, a page, pictures of sweeps of two objectives, and answers side by side.

    The answers stay in ``out``, since their prompts are those of a data set.
    """
    runs = {
        folder.name: {path.stem.removeprefix("sweep-"): read_json(path) for path in _swept(folder)}
        for folder in sorted(out.glob("[0-9]*"))
        if folder.is_dir() and _swept(folder)
    }
    results.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(key for run in runs.values() for key in run)
    # A sweep is reported over the seeds that have finished it.
    found = {key: of_seeds({seed: run[key] for seed, run in runs.items() if key in run}) for key in names}
    figures = {
        "settings": {path.parent.name: read_json(path) for path in sorted(out.glob("[0-9]*/settings.json"))},
        "seconds": {
            seed: {card.parent.name: load_card(card.parent).figures["seconds"] for card in _cards(out / seed)}
            for seed in runs
        },
        "chosen": {seed: own for seed in runs if (own := _chosen(out / seed))},
        "sweeps": {key: across.to_json() for key, across in found.items()},
    }
    write_json(results / f"{stem}.json", figures)
    lines = ["# Text steered by what a program measures", "", *_INTRODUCTION, *_policies(figures["chosen"])]
    for key, across in found.items():
        label = key.removeprefix("-".join(across.objectives)).strip("-")
        told = f"{', '.join(filter(None, [*across.objectives, label]))}: {across.prompts} prompts, "
        told += f"{across.seeds} training seeds"
        lines += ["", f"## {told[0].upper()}{told[1:]}", *_markdown(across)]
        if len(across.objectives) == 2:
            _draw(across, results / f"{stem}-{key}.svg")
    write_page(results / f"{stem}.md", lines)
    if runs:
        seed, run = next(iter(runs.items()))
        shown = [line for own in run.values() for line in _answers(own, seed)]
        write_page(out / "answers.md", ["# Answers side by side", *shown])


def _chosen(folder: Path) -> dict[str, Any]:
    """Learning rate of each objective's policy, and what the choice rests on."""
    return {
        path.stem.removeprefix("chosen-"): read_json(path) for path in sorted(folder.glob("chosen-*.json"))
    }


def _policies(chosen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Table of the chosen learning rates."""
    if not chosen:
        return []
    names = dict.fromkeys(name for own in chosen.values() for name in own)
    lines = [
        "",
        "Learning rates of the policies, the largest ones whose answers to validation prompts stay fluent,",
        "and the surprisal of these answers, divided by that of the base model's:",
        "",
        "| objective | learning rate, each seed | surprisal |",
        "| --- | ---: | ---: |",
    ]
    for name in names:
        own = [one[name] for one in chosen.values() if name in one]
        rates = ", ".join(f"{one['rate']:g}" for one in own)
        read = ", ".join(f"{list(one['surprisal'].values())[-1]:.2f}" for one in own)
        lines.append(f"| {name} | {rates} | {read} |")
    return lines


_INTRODUCTION = (
    "Measures are in standard deviations of the base model's answers over prompts, above its mean; intervals",
    "are over training seeds and prompts (both are resampled).",
)


def _swept(folder: Path) -> list[Path]:
    return sorted(folder.glob("sweep-*.json"))


def _cards(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/{CARD}"))


def _markdown(across: Across) -> list[str]:
    lines: list[str] = []
    for number, name in enumerate(("first", "second")):
        instruments = ", ".join(
            (QUALITIES[o].first, QUALITIES[o].second)[number][0] for o in across.objectives
        )
        lines += ["", f"Hypervolume by the {name} instruments ({instruments}):"]
        lines += write_table(
            ("side", "points", "hypervolume", "of each seed", "lead of steering", "at as many points"),
            [_volume_row(row) for row in across.leads(name)],
        )
    lines += [
        "",
        "Dials: rank correlation of an objective's weight and its mean measure along the grid, and the",
    ]
    lines += ["change from no weight to all of it:"]
    lines += write_table(
        ("side", "objective", "first, each seed", "second, each seed", "change, first", "change, second"),
        [
            (
                side, name, *(_listed(row[key]) for key in ("first", "second")),
                cell(row["change_first"]), cell(row["change_second"]),
            )
            for side, dials in across.dials().items()
            for name, row in dials.items()
        ],
    )  # fmt: skip
    lines += ["", f"Along the grid, {STEERED}; surprisal of each seed, divided by the base model's:"]
    lines += write_table(
        ("weights", "first", "second", "surprisal"),
        [
            (
                ", ".join(f"{name} {weight:g}" for name, weight in row["weights"].items() if weight),
                *(_listed(row[key]) for key in ("first", "second", "surprisal")),
            )
            for row in across.along()
        ],
    )
    lines += [
        "",
        "Fluency: mean surprisal of the answers (nats per token, base model), divided by that of the",
    ]
    lines += ["base model's own answers: mean over weightings and the largest; repeated trigrams in percent:"]
    return lines + write_table(
        ("side", "surprisal, mean", "largest", "repeated, %", "base model's, %"),
        [
            (
                side,
                cell(row["mean"]),
                f"{row['largest']:.2f}",
                f"{100 * row['repetition']:.1f}",
                f"{100 * row['base_repetition']:.1f}",
            )
            for side, row in across.fluency().items()
        ],
    )


def _volume_row(row: Lead) -> tuple[str, ...]:
    lead, equal = ("" if one is None else cell(one.to_json()) for one in (row.lead, row.equal_lead))
    return row.side, str(row.points), cell(row.volume.to_json()), _listed(row.volumes), lead, equal


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _draw(across: Across, path: Path) -> None:
    """Means over the seeds, in the plane of the two objectives."""
    points = [
        TextPoint(
            side, None if weights is None else SteeringWeights(weights),
            {name: values[:, i] for i, name in enumerate(across.objectives)}, [],
        )
        for side, weights, values in across.means()
    ]  # fmt: skip
    fronts = compare_sides(points, across.objectives)
    write_text_picture(TextReport(fronts, [""] * across.prompts), path)


def _answers(run: Mapping[str, Any], seed: str) -> list[str]:
    """Answers to the first test prompts under each weighting of the steered policies."""
    names = run["objectives"]
    lines = ["", f"## {', '.join(names)}: seed {seed}, {STEERED}"]
    for i, prompt in enumerate(run["prompts"][:SHOWN]):
        rows: list[tuple[str, ...]] = []
        for point in run["points"]:
            if point["side"] in (STEERED, "base"):
                weights = point["weights"]
                told = (
                    "base model"
                    if weights is None
                    else ", ".join(f"{n} {w:g}" for n, w in weights.items() if w)
                )
                rows.append((told, point["texts"][i].replace("\n", " ").replace("|", "/").strip()))
        lines += ["", f"**{prompt}**", *write_table(("weights", "answer"), rows)]
    return lines
