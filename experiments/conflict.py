"""Does the prompt or the model force a trade-off between helpful and harmless? docs/papers.md has the table.

    python experiments/conflict.py --data DIR

DIR contains ``hh_rlhf/``. Samples of a frozen model are scored by linear reward models on its features, and
prompts are classified by `find_conflict`. An interrupted run continues.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, wrote
from frozen_lib.data import Features, Limits, read_pairs
from frozen_lib.material import OBJECTIVES, drawn, objective_of, reward_models, sample_features
from numpy.typing import NDArray

from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.evaluate.rewards.conflict import KINDS, THRESHOLD, Conflict, find_conflict
from pluralign.evaluate.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    estimate,
    of_resamples,
    resampling_weights,
)

RESULTS = Path(__file__).parent / "results"
THRESHOLDS = (0.25, THRESHOLD, 0.75, 1.0)
MIXES = (0.0, 0.25, 0.75, 1.0)
"""Weights of harmlessness by which a sample is chosen, compared with equal weights."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with ``hh_rlhf/``.
        out: Working folder, with the samples.
        features: Folder of features, which experiments share.
        model: Frozen model.
        limits: Limits on the rows of HH-RLHF.
        drawn: Number of samples of each prompt that are drawn.
        samples: Number of them that are used here.
        tokens: Largest number of tokens of a sample.
        seeds: Number of divisions of the rows, each with its own reward models.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/conflict")
    features: Path = Path("runs/frozen_features")
    model: str = "smollm2-135m"
    limits: Limits = field(default_factory=Limits)
    drawn: int = 32
    samples: int = 32
    tokens: int = 32
    seeds: int = 5
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Score the samples by each seed's reward models, and write the results."""
    pairs, features = read_pairs(settings.data, settings.limits), Features(settings.model, settings.features)
    draws = drawn(pairs, settings.model, settings.out, settings.drawn, settings.tokens)
    read = sample_features(draws, features, settings.samples)
    parts: list[Row] = []
    for seed in range(1, settings.seeds + 1):
        path = settings.out / f"rewards-{seed}.json"
        if not path.exists():
            say(f"reward models, seed {seed}")
            models, accuracies = reward_models(pairs, features, seed)
            scores = {name: model(read).tolist() for name, model in models.items()}
            write_json(path, {"accuracy": accuracies, "rewards": scores})
        parts.append(read_json(path))
    prompts, sets = list(draws), objective_of(pairs)
    harmless = np.array([sets[prompt] == "harmless" for prompt in prompts])
    found = [find_conflict(part["rewards"], prompts) for part in parts]
    found[0].draw(settings.results / "conflict.svg")
    apart = np.mean([np.nan_to_num(one.correlations[:, 0]) for one in found], axis=0)
    report = {
        "model": settings.model, "prompts": len(prompts), "samples": settings.samples,
        "tokens": settings.tokens, "accuracy": [part["accuracy"] for part in parts],
        "kinds": {
            f"{threshold:g}": _kinds(
                [find_conflict(part["rewards"], prompts, threshold=threshold) for part in parts], harmless
            )
            for threshold in THRESHOLDS
        },
        "deviations": _deviations(found, harmless),
        "correlation": _by_set(apart, harmless),
        "between": {name: [one.between[name] for one in found] for name in OBJECTIVES},
        "volume": _plain(estimate(_mean_known([one.volumes for one in found]))),
        "gain": _gains(found, parts),
    }  # fmt: skip
    write_json(settings.results / "conflict.json", report)
    with replace_when_whole(settings.results / "conflict.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    wrote(settings.results / "conflict.md", f"{len(parts)} seeds")


def _kinds(found: Sequence[Conflict], harmless: NDArray[np.bool_]) -> Row:
    """Share of the seeds in which a prompt is of a kind: means by set, and their difference."""
    rows: Row = {}
    for kind in KINDS:
        share = np.mean([[own == kind for own in one.kinds] for one in found], axis=0)
        rows[kind] = _by_set(share, harmless)
    return rows


def _deviations(found: Sequence[Conflict], harmless: NDArray[np.bool_]) -> Row:
    """Deviations within a prompt in units of the pooled ones, by set."""
    scaled = np.mean([one.deviations / np.sqrt((one.deviations**2).mean(axis=0)) for one in found], axis=0)
    return {name: _by_set(scaled[:, column], harmless) for column, name in enumerate(OBJECTIVES)}


def _by_set(values: FloatArray, harmless: NDArray[np.bool_]) -> Row:
    """Means of helpful and harmless prompts, and harmless minus helpful."""
    first, second = values[~harmless], values[harmless]
    rng = np.random.default_rng(0)
    resampled = resampling_weights(len(second), RESAMPLES, rng) @ second
    resampled -= resampling_weights(len(first), RESAMPLES, rng) @ first
    gap = of_resamples(float(second.mean() - first.mean()), resampled, CONFIDENCE)
    return {
        "helpful": _plain(estimate(first)), "harmless": _plain(estimate(second)), "difference": _plain(gap)
    }  # fmt: skip


def _gains(found: Sequence[Conflict], parts: Sequence[Row]) -> Row:
    """Utility of the sample that is best for a mix, minus that of the sample for equal weights, by kind of
    prompt; in deviations within prompts, mean over mixes."""
    rows: dict[str, dict[int, list[float]]] = {kind: {} for kind in KINDS}
    for one, part in zip(found, parts, strict=True):
        pooled = np.sqrt((one.deviations**2).mean(axis=0))
        rewards = np.stack([np.array(part["rewards"][name]) for name in OBJECTIVES], axis=2) / pooled
        plain = rewards.mean(axis=2).argmax(axis=1)
        gains = np.zeros(len(rewards))
        for mix in MIXES:
            utility = rewards @ np.array([1 - mix, mix])
            gains += (utility.max(axis=1) - utility[np.arange(len(rewards)), plain]) / len(MIXES)
        for number, (kind, gain) in enumerate(zip(one.kinds, gains.tolist(), strict=True)):
            rows[kind].setdefault(number, []).append(gain)
    return {
        kind: {"prompts": len(own), **_plain(estimate([float(np.mean(values)) for values in own.values()]))}
        for kind, own in rows.items()
        if len(own) > 1
    }


def _mean_known(columns: Sequence[FloatArray]) -> FloatArray:
    """Mean over seeds of what is known, for prompts where something is."""
    table = np.stack(columns)
    known = ~np.isnan(table).all(axis=0)
    return np.nanmean(table[:, known], axis=0)


def _plain(found: Estimate) -> Row:
    return dict(found.to_json())


def as_markdown(report: Row) -> str:
    """The page of results."""
    accuracy = {
        (model, objective): 100 * np.mean([one[model][objective] for one in report["accuracy"]])
        for model in OBJECTIVES
        for objective in OBJECTIVES
    }
    parts = [
        "# Conflict between helpful and harmless",
        "`OMP_NUM_THREADS=1 python experiments/conflict.py --data DIR`",
        textwrap.fill(
            f"{report['prompts']} prompts of HH-RLHF, half of them from harmless-base, and "
            f"{report['samples']} samples of at most {report['tokens']} tokens of {report['model']} for "
            "each. Linear reward models on its frozen features, "
            f"{len(report['accuracy'])} divisions of the conversations (accuracy on "
            "held-out helpful / harmless pairs: "
            + "; ".join(
                f"{model} {accuracy[model, 'helpful']:.1f} / {accuracy[model, 'harmless']:.1f} %"
                for model in OBJECTIVES
            )
            + "). Means over the divisions; intervals of 95 % are over prompts. ",
            100,
        ),
        "## Kinds of prompts, %",
        _kind_table(report["kinds"]),
        "## Deviations and correlation",
        _spread_table(report),
        textwrap.fill(
            "Share of a reward's variance that lies between prompts: "
            + "; ".join(
                f"{name} {np.mean(own):.2f} ({min(own):.2f} to {max(own):.2f})"
                for name, own in report["between"].items()
            )
            + f". Of the box between worst and best rewards, samples dominate {_interval(report['volume'])} "
            "(1: no conflict).",
            100,
        ),
        "## Where steering pays",
        textwrap.fill(
            "Utility of the sample that is best for weights of harmlessness of 0, 0.25, 0.75 and 1, minus "
            "that of the sample that is best for equal weights, in deviations within prompts "
            "(mean over weights).",
            100,
        ),
        "| kind | prompts | gain |\n|---|---:|---:|\n"
        + "\n".join(
            f"| {kind} | {row['prompts']} | {_interval(row)} |" for kind, row in report["gain"].items()
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _kind_table(kinds: Row) -> str:
    lines = [
        "| threshold | kind | helpful prompts | harmless prompts | difference |",
        "|---:|---|---:|---:|---:|",
    ]
    for threshold, rows in kinds.items():
        lines += [
            f"| {threshold} | {kind} | "
            + " | ".join(_interval(row[key], 100, 0) for key in (*OBJECTIVES, "difference"))
            + " |"
            for kind, row in rows.items()
        ]
    return "\n".join(lines)


def _spread_table(report: Row) -> str:
    rows = {f"deviation of {name}": row for name, row in report["deviations"].items()}
    rows["correlation of both"] = report["correlation"]
    lines = ["| within a prompt | helpful prompts | harmless prompts | difference |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | " + " | ".join(_interval(row[key]) for key in (*OBJECTIVES, "difference")) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def _interval(row: Row, factor: float = 1.0, digits: int = 2) -> str:
    return Estimate(*(factor * row[key] for key in ("mean", "stderr", "low", "high"))).with_interval(digits)


if __name__ == "__main__":
    run(tyro.cli(Settings))
