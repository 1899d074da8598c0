"""The demo: the main job on one story, from data collection to the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pluralign.core import SteeringWeights
from pluralign.core.records import read_trajectories
from pluralign.evaluate.report.model import Kind, Report, WeightPoint
from pluralign.evaluate.report.page import write_picture, write_report
from pluralign.evaluate.report.summary import make_report
from pluralign.evaluate.statistics import Estimate
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC
from pluralign.workflows import main_job
from pluralign.workflows.main_job import MainJob
from pluralign.workflows.retraining import retrain_per_weight
from pluralign.workflows.stages import StagedRun

KINDS: dict[str, Kind] = {
    "random": "random",
    "DRRN": "online",
    "language model": "language_model",
    "BC": "cloned",
}


def run_job(job: MainJob) -> Report:
    """Run the stages that are not finished, and write report.json, report.html and picture.svg."""
    # A wrong story is refused before a model is loaded.
    _ = job.objectives
    run = StagedRun(job.folder, stages=9, say=job.say)
    report = report_of(job, run, run_stages(job, run))
    write_report(report, job.folder)
    write_picture(report, job.folder / "picture.svg")
    return report


def run_stages(job: MainJob, run: StagedRun) -> dict[str, Any]:
    """Run the stages in order, and return the figures of each."""
    settings = asdict(job.settings)
    cpl = asdict(main_job.cpl_config())
    sweeps = {"powers": [GEOMETRIC, ARITHMETIC]}

    def sweep_all() -> dict[str, Any]:
        for power in (GEOMETRIC, ARITHMETIC):
            main_job.sweep_weights(job, power)
        return {}

    stages: list[tuple[str, str, dict[str, Any], Any]] = [
        ("collect", "the language model plays", settings, lambda: main_job.collect_offline(job)),
        ("annotate", "the oracle compares", {}, lambda: main_job.annotate_by_oracle(job)),
        ("judge", "the language model compares", {}, lambda: main_job.annotate_by_judge(job)),
        ("pair", "pairs from annotations", {}, lambda: main_job.pair_all(job)),
        ("learn", "one agent per objective, and BC", cpl, lambda: main_job.learn_all(job)),
        ("drrn", "DRRN trains online", {}, lambda: main_job.train_online(job)),
        ("play", "every policy plays", {}, lambda: main_job.play_all(job)),
        ("sweep", "sweep over weights", sweeps, sweep_all),
        ("retrain", "one agent trained per weighting", cpl, lambda: retrain_per_weight(job)),
    ]
    return {name: run.stage(name, title, known, do) for name, title, known, do in stages}


def report_of(job: MainJob, run: StagedRun, figures: dict[str, Any]) -> Report:
    """The report of a run that has finished all stages."""
    names = job.settings.objectives
    all_kappas = {name: figures["judge"][f"kappa {name}"]["kappa"] for name in names}
    # Without a value where judge and oracle always give the same answer.
    kappas = {name: kappa for name, kappa in all_kappas.items() if kappa is not None}
    data = figures["collect"]
    ties = {key: counts["ties"] for key, counts in figures["pair"].items()}
    return make_report(
        job.make_game(),
        job.objectives,
        played={name: read_trajectories(main_job.played_file(job, name)) for name in figures["play"]},
        kinds={name: KINDS.get(name, "learned") for name in figures["play"]},
        sweeps={power: main_job.sweep_weights(job, power) for power in (GEOMETRIC, ARITHMETIC)},
        seconds=run.total,
        seed=job.settings.seed,
        rater_kappa=sum(kappas.values()) / len(kappas) if kappas else None,
        rater_kappas=kappas,
        retrained=tuple(_point(row) for row in figures["retrain"]["points"]),
        learning_seconds=sum(figures["learn"][f"oracle {name}"]["seconds"] for name in names),
        data={"episodes": data["episodes"], "steps": data["steps"], "ties": json.dumps(ties)},
        settings={**asdict(job.settings), **asdict(main_job.cpl_config())},
        notes=_notes(job, figures["judge"]),
        say=job.say,
    )


def _notes(job: MainJob, annotated: dict[str, Any]) -> tuple[str, ...]:
    contradicted = sum(annotated[f"orders disagree {name}"] for name in job.settings.objectives)
    asked = len(job.settings.objectives) * job.settings.judged
    return (
        f"The judge compared each of {asked} pairs in both orders; for {contradicted} of them it chose the "
        "same position twice. Its label is the sign of the mean of both orders' log-odds.",
    )


def _point(row: dict[str, Any]) -> WeightPoint:
    return WeightPoint(
        weights=SteeringWeights(row["weights"]),
        returns=row["returns"],
        stderr=row["stderr"],
        metrics={name: Estimate.from_json(value) for name, value in row["metrics"].items()},
        seconds=row["seconds"],
    )
