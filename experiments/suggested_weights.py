"""Weights suggested by prompt (Preference Orchestrator), on real choices; docs/papers.md has the table.

    python experiments/suggested_weights.py --data DIR

DIR contains ``hh_rlhf/`` and ``moralchoice/``. Helpful and harmless pairs are mixed with their labels hidden,
and reward models come from other conversations; on MoralChoice there are ten rules. Everything is linear on
frozen features, which are computed once. An interrupted run continues: each part and seed has its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import tyro
from console import say, wrote
from frozen_lib.data import Features, Limits, read_pairs
from moralchoice_lib.data import read_cases
from suggested_lib import helpful_harmless, moral
from suggested_lib.tables import as_markdown, summary

from pluralign.core.files import read_json, replace_when_whole, write_json

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with ``hh_rlhf/`` and ``moralchoice/``.
        out: Working folder.
        features: Folder of features, which experiments share.
        model: Frozen model.
        limits: Limits on the rows of HH-RLHF.
        seeds: Number of divisions of the rows of HH-RLHF.
        folds: Number of divisions of MoralChoice's decisions into five folds.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/suggested_weights")
    features: Path = Path("runs/frozen_features")
    model: str = "smollm2-135m"
    limits: Limits = field(default_factory=Limits)
    seeds: int = 5
    folds: int = 3
    results: Path = RESULTS

    @cached_property
    def store(self) -> Features:
        """Features of answers."""
        return Features(self.model, self.features)


def run(settings: Settings) -> None:
    """Measure all parts, and write the results as they come."""
    parts: dict[str, Any] = {}

    def measured(name: str, measure: Callable[[], Any]) -> None:
        path = settings.out / f"{name}.json"
        if not path.exists():
            say(name)
            write_json(path, measure())
        parts[name] = read_json(path)
        _write(parts, settings)

    pairs, states = read_pairs(settings.data, settings.limits), settings.out / "states"
    for seed in range(1, settings.seeds + 1):
        measured(
            f"hh_rlhf-{seed}",
            lambda seed=seed: helpful_harmless.measure(pairs, settings.store, states, seed),
        )
    cases = read_cases(settings.data / "moralchoice", 0)
    for seed in range(1, settings.folds + 1):
        measured(f"moralchoice-{seed}", lambda seed=seed: moral.measure(cases, settings.store, states, seed))
    wrote(settings.results / "suggested_weights.md", f"{len(parts)} parts")


def _write(parts: dict[str, Any], settings: Settings) -> None:
    report = {"model": settings.model, **summary(parts)}
    write_json(settings.results / "suggested_weights.json", report)
    with replace_when_whole(settings.results / "suggested_weights.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")


if __name__ == "__main__":
    run(tyro.cli(Settings))
