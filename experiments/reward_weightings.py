"""Weights that move in training, targets and tails: on tables whose optimum is known, and on one story;
docs/papers.md has the tables.

    python experiments/reward_weightings.py

Numbers of samples include those for scales and validation.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from console import say, write_page, wrote
from weightings_lib import tables
from weightings_lib.story import StoryRuns

from pluralign.core.files import read_json, write_json
from pluralign.evaluate.statistics import estimate
from pluralign.learn.options.story_rounds import StoryRLConfig
from pluralign.options.open import Models

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        seeds: Number of tables.
        story_seeds: Number of training seeds on the story; 0 leaves it out.
        prompts: Number of prompts of a table.
        options: Number of options of a prompt.
        budgets: Numbers of batches after which policies with moving weights are measured.
        batches: Number of batches with targets.
        rate: Step size on tables.
        story: Story.
        model: Trunk of the story's features.
        features: Folder of the features.
        config: Settings of the policies of the story.
        results: Folder of the result files.
    """

    out: Path = Path("runs/reward_weightings")
    seeds: int = 5
    story_seeds: int = 3
    prompts: int = 60
    options: int = 12
    budgets: tuple[int, ...] = (60, 300)
    batches: int = 3000
    rate: float = 0.1
    story: str = "salt_ledger"
    model: str = "smollm2-135m"
    features: Path = Path("runs/features")
    config: StoryRLConfig = field(
        default_factory=lambda: StoryRLConfig(
            rounds=100, block=20, decisions=16, samples=8, learning_rate=3e-3
        )
    )
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Measure everything, and write the results as they come."""
    rows: list[Row] = []
    for seed in range(1, settings.seeds + 1):
        for name, own in _table_parts(settings, seed).items():
            rows += _kept(settings.out / f"{name}-{seed}.json", own, seed)
        write_results(rows, settings)
    if settings.story_seeds:
        store = Models(settings.model, settings.features, "float32").store
        runs = {
            seed: StoryRuns(settings.story, store, settings.config, seed, settings.out / f"story-{seed}")
            for seed in range(1, settings.story_seeds + 1)
        }
        for name in ("combinations", "tails", "target"):
            for seed, own in runs.items():
                path = settings.out / f"story-{name}-{seed}.json"
                rows += _kept(path, getattr(own, name)(), seed)
                write_results(rows, settings)
    wrote(settings.results / "reward_weightings.md", f"{len(rows)} rows")


def _table_parts(settings: Settings, seed: int) -> dict[str, Iterator[Row]]:
    size = (seed, settings.prompts, settings.options)
    return {
        "moving": tables.moving(*size, settings.budgets, settings.rate),
        "targets": tables.targets(*size, settings.batches, settings.rate),
        "tails": tables.tails(*size, max(settings.budgets), settings.rate),
    }


def _kept(path: Path, rows: Iterator[Row], seed: int) -> list[Row]:
    """Rows of a part, from its file if it is finished."""
    if not path.exists():
        say(path.stem)
        write_json(path, list(rows))
    return [{**row, "seed": seed} for row in read_json(path)]


def write_results(rows: list[Row], settings: Settings) -> None:
    """``reward_weightings.json`` (all rows) and ``reward_weightings.md`` (means and intervals over seeds)."""
    write_json(settings.results / "reward_weightings.json", rows)
    groups: dict[tuple[str, str, Any], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["part"], row["way"], row.get("batches")].append(row)
    lines = ["# Weightings that move, targets and tails", "", "`python experiments/reward_weightings.py`", ""]
    lines += textwrap.wrap(
        f"Tables: {settings.seeds} of {settings.prompts} prompts with {settings.options} options, 8 samples "
        f"per prompt and batch. Story: {settings.story}, {settings.story_seeds} training seeds, heads on "
        f"frozen features of {settings.model}, {settings.config.rounds} rounds. Batches and episodes include "
        "those for scales and validation. KL is from the policy before training, nats (on the story, of "
        "episodes). Intervals of 95 % over seeds.",
        100,
    )
    part, columns = "", list[str]()
    for (own, way, batches), found in groups.items():
        if own != part:
            part = own
            known = [row for row in rows if row["part"] == part]
            columns = list(dict.fromkeys(n for row in known for n in row if isinstance(row[n], float)))
            lines += ["", f"## {own[0].upper()}{own[1:]}", ""]
            lines += [f"| way | batches | seeds | {' | '.join(columns)} |"]
            lines.append("|---|---:|---:|" + "---:|" * len(columns))
        cells = [_cell([row[name] for row in found if row.get(name) is not None]) for name in columns]
        lines.append(f"| {way} | {batches or ''} | {len(found)} | {' | '.join(cells)} |")
    write_page(settings.results / "reward_weightings.md", lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    found = estimate(values)
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    run(tyro.cli(Settings))
