"""Settings of the experiment, and the decisions that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moralchoice_lib.data import Case, read_cases

from pluralign.core import InputError
from pluralign.core.splits import seed_for
from pluralign.options.open import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with MoralChoice's low_ambiguity.jsonl.gz and high_ambiguity.jsonl.gz.
        out: Working folder: features and trained heads.
        results: Folder of principles.json and principles.md.
        model: Model of the features, and the judge.
        every: Number of decisions of which one is used, by a hash of its id.
        folds: Number of folds of decisions; a decision is tested by heads that have not seen it.
        seeds: Number of seeds of folds and heads.
        steps: Number of optimizer steps of a head.
        judged: Number of decisions that the judge is asked about.
    """

    data: Path
    out: Path = ROOT / "runs" / "principles"
    results: Path = ROOT / "experiments" / "results"
    model: str = DEFAULT_MODEL
    every: int = 2
    folds: int = 2
    seeds: int = 3
    steps: int = 100
    judged: int = 40

    def __post_init__(self) -> None:
        for name, lowest in (("every", 1), ("folds", 2), ("seeds", 1), ("steps", 1), ("judged", 1)):
            if getattr(self, name) < lowest:
                raise InputError(f"must be {lowest} or more, found {getattr(self, name)}", field=name)


def chosen_cases(settings: Settings) -> list[Case]:
    """The decisions of the experiment."""
    cases = read_cases(settings.data, 0)
    return [case for case in cases if seed_for(f"subset {case.id}", 0) % settings.every == 0]


def folds_of(cases: Sequence[Case], settings: Settings, seed: int) -> list[int]:
    """Fold of each decision, by a hash of its id and the seed."""
    return [seed_for(f"fold of {case.id}", seed) % settings.folds for case in cases]
