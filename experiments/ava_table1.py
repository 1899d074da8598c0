"""Reward accuracy of AVA, its ablations and baselines on people's preferences: AVA's Table 1.

    python experiments/ava_table1.py --data FOLDER --workers 2

FOLDER contains hh_rlhf/harmless.jsonl.gz, hh_rlhf/helpful.jsonl.gz and ethics/utilitarianism.jsonl.gz
(columns chosen and rejected). The four uppermost layers of SmolLM2-135M and the heads are trained; the layers
below run once. Settings were chosen on two fifths of the prompts, which are not in any test fold. Each method
is tested once on each of three test folds, with a different seed, after training on all other prompts. Every
run is a file in ``--out``; an interrupted experiment continues, also from the runs that the results have, and
the tables contain all methods whose runs are finished.

    python experiments/ava_table1.py --data FOLDER --all-rows --folds 0 1 2 3 4 --name ava_table1_all

takes all rows and five folds. Settings were chosen on pairs of two of these folds, so that the differences
are given without them, too.

A fold has whole families of pairs (`ava_lib.data.families`): no test pair has a text of the training pairs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from ava_lib import data
from ava_lib.runs import Task, claim, restore, results, run
from ava_lib.tables import write_tables

MAIN = ("Bradley-Terry", "AVA-p", "Preference Transformer")
OTHERS = ("learned-variance BT", "AVA-d")
ABLATIONS = ("AVA-p w/o rwt", "AVA-p w/o neg", "AVA-p w/o irl", "AVA-p w/o cer", "AVA-p w/o ptq")
PAIRS = {"harmless": 4000, "helpful": 4000, "utilitarianism": 4000}
"""Largest number of pairs per data set, drawn by a hash of their prompts; HH-RLHF's have fewer."""
TRAINING_PAIRS = {"harmless": 800, "helpful": 800, "utilitarianism": 4000}
"""Largest number of training pairs, which two cores can train on in an hour. Test folds are complete."""
TRAINING: dict[str, dict[str, Any]] = {
    "harmless": {"batch_size": 8, "epochs": 1},
    "helpful": {"batch_size": 8, "epochs": 1},
    "utilitarianism": {"batch_size": 32, "epochs": 2},
}
COMMON = {"learning_rate": 2e-4, "max_length": 256, "bf16": True}
AVA: dict[str, Any] = {"tqr": {"reduction": "mean"}, "beta": 0.1, "td_weight": 0.001, "kl_weight": 0.001}


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        stage: ``table`` trains and tests; ``full`` trains the whole trunk on ETHICS; ``report`` writes the
            tables of the finished runs.
        model: Base model.
        layers: Number of uppermost layers to train, except in ``full``.
        folds: Test folds.
        all_rows: Whether to take and train on all rows.
        workers: Number of processes, with one thread each.
        ablations: Whether to run the five ablations as well.
        results: Folder of the result files.
        name: Name of the result files.
    """

    data: Path
    out: Path = Path("runs/ava_table1")
    stage: Literal["table", "full", "report"] = "table"
    model: str = "smollm2-135m"
    layers: int = 4
    folds: tuple[int, ...] = data.FOLDS
    all_rows: bool = False
    workers: int = 1
    ablations: bool = True
    results: Path = Path(__file__).parent / "results"
    name: str = "ava_table1"


def tasks(settings: Settings) -> Iterator[Task]:
    """All training runs, the most important first."""
    ablations = ABLATIONS if settings.ablations else ()
    folds = settings.folds
    rounds = [(MAIN, folds), (ablations, folds[:1]), (OTHERS, folds), (ablations, folds[1:])]
    for methods, folds in rounds:
        for fold in folds:
            for dataset in ("utilitarianism", "harmless", "helpful"):
                training = {**COMMON, **TRAINING[dataset], "layers": settings.layers}
                for method in methods:
                    yield _task(dataset, method, fold, training)


def full_tasks(settings: Settings) -> Iterator[Task]:
    """Bradley-Terry with the whole trunk on ETHICS."""
    training = {**COMMON, "learning_rate": 5e-5, "batch_size": 32, "epochs": 1, "layers": None}
    for fold in settings.folds:
        yield replace(
            _task("utilitarianism", "Bradley-Terry", fold, training), key=f"full-utilitarianism-{fold}"
        )


def _task(dataset: str, method: str, fold: int, training: dict[str, Any]) -> Task:
    name = method.replace("/", "").replace(" ", "_")
    return Task(
        f"{dataset}-{name}-{fold}", dataset, method, fold, fold, training, AVA if "AVA" in method else {}
    )


def main(settings: Settings) -> None:
    """Train, test, and write the tables as results come."""
    settings.out.mkdir(parents=True, exist_ok=True)
    published = (settings.results / settings.name).with_suffix(".json")
    if settings.workers >= 1:
        restore(settings.out, published, settings.model, partial(_families, settings, {}))
    if settings.stage != "report" and settings.workers > 1:
        _spawn(settings)
    elif settings.stage != "report":
        _work(settings)
    if settings.workers >= 1:
        write_tables(results(settings.out), settings.results / settings.name)


def _families(settings: Settings, known: dict[tuple[str, int], list[int]], task: Task) -> list[int]:
    """Number of the family of each test pair of a task's fold, computed once."""
    place = task.dataset, task.fold
    if place not in known:
        most = None if settings.all_rows else PAIRS[task.dataset]
        known[place] = data.fold(data.load(settings.data, task.dataset, most), task.fold)[2]
    return known[place]


def _spawn(settings: Settings) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable, __file__, "--data", str(settings.data), "--out", str(settings.out), "--stage",
        settings.stage, "--model", settings.model, "--layers", str(settings.layers), "--workers", "0",
        f"--{'' if settings.ablations else 'no-'}ablations",
        f"--{'' if settings.all_rows else 'no-'}all-rows", "--folds", *map(str, settings.folds),
    ]  # fmt: skip
    running = [subprocess.Popen(command, env=environment) for _ in range(settings.workers)]
    for process in running:
        process.wait()


def _work(settings: Settings) -> None:
    from pluralign.lm.backbone import load_backbone

    backbone = load_backbone(settings.model)
    full = settings.stage == "full"
    known: dict[str, tuple[Any, Any]] = {}
    for task in full_tasks(settings) if full else tasks(settings):
        if not claim(settings.out, task):
            continue
        if task.dataset not in known:
            known = {task.dataset: _prepare(settings, backbone, task.dataset, full)}
        pairs, lower = known[task.dataset]
        train, test, families = data.fold(pairs, task.fold)
        if not full and not settings.all_rows:
            train = train[: TRAINING_PAIRS[task.dataset]]
        found = run(
            task, train, test, model=settings.model, tokenizer=backbone.tokenizer, folder=settings.out,
            lower=lower, families=families,
        )  # fmt: skip
        print(
            f"{task.key}: {100 * found['accuracy']:.1f} %, {len(test)} pairs, {found['seconds']:.0f} s",
            flush=True,
        )


def _prepare(settings: Settings, backbone: Any, dataset: str, full: bool) -> tuple[Any, Any]:
    import torch

    from pluralign.learn.texts.data import encode_completion_pairs
    from pluralign.learn.texts.trunk import LowerStates
    from pluralign.lm.backbone import load_backbone
    from pluralign.lm.completion_trees import CompletionReader

    if full:
        return data.load(settings.data, dataset, 7500), None
    pairs = data.load(settings.data, dataset, None if settings.all_rows else PAIRS[dataset])
    lower = LowerStates(load_backbone(settings.model, dtype=torch.float32), settings.layers, bf16=True)
    stem = f"{dataset}-{settings.layers}-{COMMON['max_length']}{'-all' * settings.all_rows}"
    kept = settings.out / f"{stem}.safetensors"
    if kept.exists():
        lower.read(kept)
    else:
        trees = encode_completion_pairs(
            pairs, CompletionReader(backbone.tokenizer, COMMON["max_length"])
        ).trees
        lower.compute(trees)
        lower.save(kept)
    return pairs, lower


if __name__ == "__main__":
    main(tyro.cli(Settings))
