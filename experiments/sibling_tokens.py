"""How many tokens of independent samples have siblings, which `learn awr` compares.

    python experiments/sibling_tokens.py --draws runs/value_priors/draws.jsonl

The samples are those that value_priors.py draws: SmolLM2-135M's answers of at most 24 tokens to 400
questions, 32 for each. Of the first 2 to 32 samples of each question: the share of tokens that follow the
same beginning as a different token of another sample, their number in a sample, and the place of a sample's
last one. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from afd_lib.report import cell, write_table
from console import write_page, wrote

from pluralign.core.files import write_json
from pluralign.core.jsonl import read_rows
from pluralign.evaluate.statistics import estimate
from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.prompts import completion_ids
from pluralign.losses.siblings import token_advantages

FIGURES = ("share of tokens", "tokens of a sample", "place of the last one")


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        draws: File of samples: rows with a prompt and its completions.
        model: Model whose tokenizer reads them.
        samples: Numbers of samples of each prompt.
        results: Folder of the result files.
    """

    draws: Path
    model: str = "smollm2-135m"
    samples: tuple[int, ...] = (2, 4, 8, 16, 32)
    results: Path = Path(__file__).parent / "results"


def siblings_of(paths: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """The figures of one prompt's samples, given as token ids."""
    lengths = [len(path) for path in paths]
    _, branching = token_advantages(paths, torch.zeros(len(paths)))
    last = [float(own.nonzero().max()) + 1 if bool(own.any()) else 0.0 for own in branching.split(lengths)]
    count = float(branching.sum())
    return count / sum(lengths), count / len(paths), sum(last) / len(last)


def run(settings: Settings) -> None:
    """Count, and write the table."""
    tokenizer = load_tokenizer(settings.model)
    prompts = [
        [completion_ids(tokenizer, text) for text in fields.row["completions"]]
        for fields in read_rows(settings.draws)
    ]
    rows: list[dict[str, Any]] = []
    for samples in settings.samples:
        found = [siblings_of(paths[:samples]) for paths in prompts]
        columns = (estimate(list(column)).to_json() for column in zip(*found, strict=True))
        rows.append({"samples": samples, "prompts": len(prompts), **dict(zip(FIGURES, columns, strict=True))})
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "sibling_tokens.json", rows)
    lines = [
        "# Tokens that have siblings", "",
        "`python experiments/sibling_tokens.py --draws runs/value_priors/draws.jsonl`", "",
        f"Of independent samples of {len(prompts)} prompts, the end-of-text token included; means over",
        "prompts with 95 % intervals.",
        *write_table(
            ("samples of a prompt", *FIGURES),
            [
                (str(row["samples"]), cell(row[FIGURES[0]], 3), *(cell(row[name], 2) for name in FIGURES[1:]))
                for row in rows
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "sibling_tokens.md", lines)
    wrote(settings.results / "sibling_tokens.md", f"{len(rows)} rows")


if __name__ == "__main__":
    run(tyro.cli(Settings))
