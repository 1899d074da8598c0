"""How far steering by measured qualities moves the answers from the base model: KL, beside what it gains.

    python experiments/text_divergence.py --policies runs/measured_text

``--policies`` is the working folder of `measured_text.py`, whose finished seeds are taken. The answers of its
sweep of cheerful against brief are scored by the distribution that wrote them, and by the base model at the
same temperature: the mean difference of the two log-likelihoods is KL(policy || base), in nats per answer.
Answers of fewer tokens than the limit have ended, and their last token counts. An interrupted run continues.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import cell, over_runs, write_table
from console import say, write_page, wrote

import pluralign as pl
from pluralign.core.files import read_json, write_json

OBJECTIVES = ("cheerful", "brief")
SIDES = {"steered (geometric mean)": "steered-geometric-mean", "MODPO": "modpo"}
"""Sides whose policies are folders, with the files of their answers."""
SWEEP = "sweep-cheerful-brief"
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        policies: Working folder of `measured_text.py`.
        out: Working folder.
        model: Base model of the policies.
        prompts: Largest number of prompts whose answers are scored; the first ones are.
        tokens: Largest number of tokens of an answer, as it was written.
        temperature: Sampling temperature, as the answers were written.
        dtype: Precision of the models.
        results: Folder of the result files.
    """

    policies: Path
    out: Path = Path("runs/text_divergence")
    model: str = "smollm2-135m"
    prompts: int = 100
    tokens: int = 56
    temperature: float = 0.7
    dtype: str = "auto"
    results: Path = Path(__file__).parent / "results"


def folders_of(folder: Path) -> dict[str, Path]:
    """The policies of one seed: each objective's, and those that were trained for one weighting."""
    found = {
        name: folder / f"dpo-{name}-{read_json(folder / f'chosen-{name}.json')['rate']:g}"
        for name in OBJECTIVES
    }
    return found | {path.name: path for path in sorted(folder.glob("modpo-*"))}


def weights_of(side: str, given: Mapping[str, float]) -> dict[str, float]:
    """Weights of the policies that wrote an answer."""
    if side == "MODPO":
        return {f"modpo-{given[OBJECTIVES[0]]:g}": 1.0}
    return dict(given)


def measure(settings: Settings, seed: str) -> list[Row]:
    """Divergence and length of each side's answers, by weighting."""
    folder = settings.policies / seed
    named = {**folders_of(folder), "base": settings.model}
    mix = pl.load_policies(settings.model, named, dtype=settings.dtype, control_tokens=True)
    kept: dict[str, None] = {}
    found: list[Row] = []
    for side, file in SIDES.items():
        groups: dict[tuple[float, ...], list[Row]] = {}
        path = folder / SWEEP / "texts" / f"{file}.jsonl"
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            if row["prompt"] in kept or len(kept) < settings.prompts:
                kept[row["prompt"]] = None
                groups.setdefault(tuple(row["weights"][name] for name in OBJECTIVES), []).append(row)
        for key, rows in sorted(groups.items()):
            given = dict(zip(OBJECTIVES, key, strict=True))
            found.append({"side": side, "weights": given, **_divergence(mix, side, given, rows, settings)})
    return found


def _divergence(
    mix: pl.Policies, side: str, given: Mapping[str, float], rows: Sequence[Row], settings: Settings
) -> Row:
    prompts, texts = [row["prompt"] for row in rows], [row["completion"] for row in rows]
    lengths = [len(mix.answer_ids(text, chat=False, ended=False)) for text in texts]
    own, base = pl.log_likelihoods(
        mix, prompts, texts, weights=[weights_of(side, given), {"base": 1.0}],
        temperature=settings.temperature, ends=[length < settings.tokens for length in lengths],
        progress=True,
    )  # fmt: skip
    gaps = own - base
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return {
        "answers": len(rows),
        "kl": float(gaps.mean()),
        "stderr": error,
        "tokens": float(np.mean(lengths)),
    }


def run(settings: Settings) -> None:
    """Measure every finished seed, and write the table as results come."""
    seeds = sorted(path.parent.name for path in settings.policies.glob(f"*/{SWEEP}.json"))
    runs: dict[str, list[Row]] = {}
    for seed in seeds:
        path = settings.out / f"{seed}.json"
        if not path.exists():
            say(f"seed {seed}")
            settings.out.mkdir(parents=True, exist_ok=True)
            write_json(path, measure(settings, seed))
        runs[seed] = read_json(path)
        write_results(runs, settings)
    wrote(settings.results / "text_divergence.md", f"{len(seeds)} seeds")


def write_results(runs: Mapping[str, Sequence[Row]], settings: Settings) -> None:
    """``text_divergence.json`` and ``text_divergence.md``."""
    groups: dict[tuple[str, tuple[tuple[str, float], ...]], list[Row]] = {}
    for rows in runs.values():
        for row in rows:
            groups.setdefault((row["side"], tuple(row["weights"].items())), []).append(row)
    cells = [
        {
            "side": side, "weights": dict(weights), "seeds": len(own), "answers": own[0]["answers"],
            "each": [row["kl"] for row in own],
            "kl": over_runs([row["kl"] for row in own]), "tokens": over_runs([row["tokens"] for row in own]),
            "per_token": over_runs([row["kl"] / row["tokens"] for row in own]),
        }
        for (side, weights), own in groups.items()
    ]  # fmt: skip
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "text_divergence.json", cells)
    lines = [
        "# How far steering moves the answers from the base model", "",
        "`python experiments/text_divergence.py --policies runs/measured_text`", "",
        f"KL(policy || base) in nats per answer, of {settings.prompts} answers at temperature",
        f"{settings.temperature:g}; means over training seeds, 95 % intervals.",
        *write_table(
            ("side", f"weight of {OBJECTIVES[0]}", "KL, nats per answer", "by seed", "tokens", "per token"),
            [
                (one["side"], f"{one['weights'][OBJECTIVES[0]]:g}", cell(one["kl"], 1),
                 ", ".join(f"{value:.1f}" for value in one["each"]), cell(one["tokens"], 1),
                 cell(one["per_token"], 2))
                for one in cells
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "text_divergence.md", lines)


if __name__ == "__main__":
    run(tyro.cli(Settings))
