"""Policies of the stories' objectives on one hidden layer, by weights of their gradients, and on their own.

    python experiments/joint_heads.py

For each story and seed, comparisons of random play teach agents of score and of harm avoidance by CPL, on
frozen features of SmolLM2-135M: each alone (`learn cpl`), or on one hidden layer (`learn cpl --joint`) that
follows the sum of the objectives' gradients, their shortest vector (MGDA), or the gradient of validation
pairs (ParetoDA). Measured are exact returns, the hypervolume of eleven geometric mixtures, and how often the
gradients conflict. Every agent is a folder in ``--out``, and an interrupted run continues.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from afd_lib.report import cell, over_runs, write_table
from console import say, write_page, wrote
from offline_q_lib.agents import OBJECTIVES, Story

import pluralign as pl
from pluralign.collect.chooser import PolicyChooser
from pluralign.core.files import read_json, write_json
from pluralign.folders.card import HEAD, load_card
from pluralign.folders.tensors import read_tensors
from pluralign.games.choicescript.load import list_stories
from pluralign.learn.options.cpl import fit_cpl
from pluralign.learn.options.joint_cpl import fit_joint_cpl
from pluralign.options.open import Models
from pluralign.workflows.main_job import cpl_config

ALONE = "separate"
WAYS = (ALONE, "sum", "min_norm", "guided")
"""Agents on their own, and ways to weigh the gradients on one layer."""
SHARED = ("inner.weight", "inner.bias")


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        features: Folder that keeps the features between runs.
        model: Frozen trunk.
        stories: Names of the stories.
        ways: Ways to train.
        seeds: Number of seeds of play and of training, counted from 1.
        episodes: Number of random episodes.
        comparisons: Largest number of comparisons by the oracle, for each objective.
        steps: Number of optimizer steps; each has a batch of pairs for each objective.
        results: Folder of the result files.
    """

    out: Path = Path("runs/joint_heads")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    stories: tuple[str, ...] = tuple(list_stories())
    ways: tuple[str, ...] = WAYS
    seeds: int = 3
    episodes: int = 1000
    comparisons: int = 5000
    steps: int = 500
    results: Path = Path(__file__).parent / "results"


def pairs_of(story: Story, seed: int, settings: Settings) -> dict[str, list[pl.PreferencePair]]:
    """Preference pairs of each objective, by the oracle, from random play."""
    played, _ = story.played(PolicyChooser(pl.UniformPolicy()), settings.episodes, seed)
    compared = pl.make_comparisons(played, count=settings.comparisons, seed=seed)
    found: dict[str, list[pl.PreferencePair]] = {}
    for objective in story.objectives:
        rated = zip(compared, pl.Oracle(played, seed=seed).rate(compared, objective), strict=True)
        said = [
            pl.Annotation(one, objective.name, "oracle", rating.preference)
            for one, rating in rated if rating is not None
        ]  # fmt: skip
        found[objective.name] = pl.make_pairs(said, ties="soft")
    return found


def measure(story: Story, way: str, seed: int, settings: Settings, models: Models) -> dict[str, Any]:
    """Train the agents of one way, and measure them."""
    pairs, out = pairs_of(story, seed, settings), settings.out / "agents" / f"{story.name}-{seed}-{way}"
    known: dict[str, Any] = {"store": models.store, "seed": seed}
    known["config"] = replace(cpl_config(), steps=settings.steps)
    if way == ALONE:
        agents = {name: fit_cpl(own, out=out / name, **known) for name, own in pairs.items()}
    else:
        agents = fit_joint_cpl(pairs, out=out, gradients=way, **known)
    found: dict[str, Any] = {"volume": story.share(agents), "parameters": parameters(out, joint=way != ALONE)}
    for column, name in enumerate(OBJECTIVES):
        low, high = float(story.front.worst[column]), float(story.front.best[column])
        mean = story.returns(agents[name])[column]
        figures = load_card(out / name).figures
        found[name] = {
            "mean": mean, "share": (mean - low) / (high - low),
            "accuracy": figures.get("validation_accuracy"),
            "weight": figures.get(f"gradient_weight_{name}"),
        }  # fmt: skip
        found["conflicts"] = figures.get("gradient_conflicts")
    return found


def parameters(out: Path, *, joint: bool) -> int:
    """Number of trained parameters of all agents."""
    heads = [read_tensors(out / name / HEAD) for name in OBJECTIVES]
    trained = [{k: v.numel() for k, v in head.items() if k not in ("mean", "scale")} for head in heads]
    total = sum(sum(head.values()) for head in trained)
    return total - sum(trained[0][name] for name in SHARED) if joint else total


def run(settings: Settings) -> None:
    """Measure every seed, story and way, and write the tables as results come."""
    rows: list[dict[str, Any]] = []
    models = Models(settings.model, settings.features)
    stories: dict[str, Story] = {}
    for seed in range(1, settings.seeds + 1):
        for name in settings.stories:
            for way in settings.ways:
                path = settings.out / f"{name}-{seed}-{way}.json"
                if not path.exists():
                    say(f"{name}, {way}, seed {seed}")
                    story = stories.setdefault(name, Story(name))
                    write_json(path, measure(story, way, seed, settings, models))
                rows.append({"story": name, "seed": seed, "way": way, **read_json(path)})
                write_results(rows, settings)
    wrote(settings.results / "joint_heads.md", f"{len(rows)} rows")


COLUMNS = {
    "score": lambda row: row["score"]["share"],
    "harm avoidance": lambda row: row["harm_avoidance"]["share"],
    "hypervolume": lambda row: row["volume"],
    "accuracy, score": lambda row: row["score"]["accuracy"],
    "accuracy, harm": lambda row: row["harm_avoidance"]["accuracy"],
    "weight of score": lambda row: row["score"]["weight"],
    "conflicts": lambda row: row["conflicts"],
}
"""Columns of the table by name."""
COMPARED = ("score", "harm avoidance", "hypervolume")
"""Columns that are compared with separate agents."""


def differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures of each way minus those of separate agents, over stories and seeds that have both."""
    alone = {(row["story"], row["seed"]): row for row in rows if row["way"] == ALONE}
    found: list[dict[str, Any]] = []
    for way in dict.fromkeys(row["way"] for row in rows if row["way"] != ALONE):
        own = [row for row in rows if row["way"] == way and (row["story"], row["seed"]) in alone]
        differ = {
            name: over_runs(
                [COLUMNS[name](row) - COLUMNS[name](alone[row["story"], row["seed"]]) for row in own]
            )
            for name in COMPARED
        }
        found.append({"way": way, "runs": len(own), **differ})
    return found


def write_results(rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """``joint_heads.json`` and ``joint_heads.md``."""
    settings.results.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["story"], row["way"]].append(row)
    for way in dict.fromkeys(row["way"] for row in rows):
        groups["all", way] = [row for row in rows if row["way"] == way]
    cells = [
        {
            "story": story, "way": way, "runs": len(own), "parameters": own[0]["parameters"],
            **{name: over_runs([column(row) for row in own]) or {} for name, column in COLUMNS.items()},
        }
        for (story, way), own in groups.items()
    ]  # fmt: skip
    write_json(
        settings.results / "joint_heads.json",
        {"cells": cells, "differences": differences(rows), "rows": list(rows)},
    )
    lines = [
        "# One hidden layer for the objectives of a story", "", "`python experiments/joint_heads.py`", "",
        *textwrap.wrap(
            f"CPL from at most {settings.comparisons} comparisons of {settings.episodes} random episodes "
            f"for each of two objectives, {settings.steps} steps. Exact returns of each objective's "
            "agent, as shares of the range from the worst to the best attainable; hypervolume of eleven "
            "geometric mixtures, in shares of the exact front; accuracy on validation pairs; mean "
            "weight of score's gradient on the shared layer, and the share of steps in which the two "
            "gradients have a negative cosine (both in the second phase). Means over seeds of play and "
            "training, with 95 % intervals over runs; in the rows of all stories, runs are story and "
            "seed.",
            100,
        ),
        *write_table(
            ("story", "way", "runs", "parameters", *COLUMNS),
            [
                (row["story"], row["way"], str(row["runs"]), f"{row['parameters']:,}",
                 *(cell(row[name] or None, 3) for name in COLUMNS))
                for row in cells
            ],
        ),
        "", "Differences from separate agents of the same story and seed.",
        *write_table(
            ("way", "runs", *COMPARED),
            [
                (row["way"], str(row["runs"]), *(cell(row[name], 3) for name in COMPARED))
                for row in differences(rows)
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "joint_heads.md", lines)


if __name__ == "__main__":
    run(tyro.cli(Settings))
