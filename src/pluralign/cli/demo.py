"""``pluralign demo``: the main job, end to end, on one story."""

from __future__ import annotations

import json as json_format
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pluralign.cli import main_job
from pluralign.cli.common import JsonFile, give_figures, say, wrote
from pluralign.cli.main_job import JobSettings, MainJob
from pluralign.cli.reporting import make_report
from pluralign.cli.retraining import retrain_per_weight
from pluralign.cli.stages import StagedRun
from pluralign.core import SteeringWeights
from pluralign.core.records import read_trajectories
from pluralign.evaluate import Estimate
from pluralign.evaluate.report import Kind, Report, WeightPoint, write_picture, write_report
from pluralign.steer import ARITHMETIC, GEOMETRIC

KINDS: dict[str, Kind] = {
    "random": "random",
    "DRRN": "online",
    "language model": "language_model",
    "BC": "cloned",
}


def demo(out: Path = Path("demo"), story: str = "salt_ledger", seed: int = 0, json: JsonFile = None) -> None:
    """Run the main job on one story: collect, annotate, pair, learn, steer, evaluate.

    A language model plays; an oracle and the language model say which of two continuations serves each
    objective better; one CPL agent is learned for each objective; the weights mix them. The report shows
    what the weights do. An interrupted run continues when the same command is given again.

    Example: pluralign demo --out demo --story salt_ledger

    Args:
        out: the folder to write.
        story: a built-in story's name, or any game's path (docs/other_games.md).
        seed: of all that is random.
        json: a file for the report's figures, too.
    """
    began = time.perf_counter()
    report = run_job(MainJob(out, JobSettings(story=story, seed=seed)))
    ratio = report.hypervolume_ratio
    covered = "" if ratio is None else f"hypervolume {100 * ratio:.0f} % of the exact front's; "
    say(
        f"{report.title}: {covered}{report.seconds:.0f} s in all, "
        f"{time.perf_counter() - began:.0f} s of them now"
    )
    give_figures(report.to_json(), json)


def run_job(job: MainJob) -> Report:
    """Run the job's stages, or what is left of them, and write its report."""
    run = StagedRun(job.folder, stages=9)
    report = report_of(job, run, run_stages(job, run))
    data, page = write_report(report, job.folder)
    picture = write_picture(report, job.folder / "picture.svg")
    say("")
    wrote(data, "the figures")
    wrote(page, "open it in a browser")
    wrote(picture, "the sweep")
    return report


def run_stages(job: MainJob, run: StagedRun) -> dict[str, Any]:
    """The stops in the data's order; returns each one's figures."""
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
        ("pair", "annotations become pairs", {}, lambda: main_job.pair_all(job)),
        ("learn", "one agent for each objective, and BC", cpl, lambda: main_job.learn_all(job)),
        ("drrn", "DRRN learns online", {}, lambda: main_job.train_online(job)),
        ("play", "every policy plays", {}, lambda: main_job.play_all(job)),
        ("sweep", "the weights are turned", sweeps, sweep_all),
        ("retrain", "one agent trained anew per weight", cpl, lambda: retrain_per_weight(job)),
    ]
    return {name: run.stage(name, title, known, do) for name, title, known, do in stages}


def report_of(job: MainJob, run: StagedRun, figures: dict[str, Any]) -> Report:
    """The report of a run whose stages are all done."""
    names = job.settings.objectives
    kappas = {name: figures["judge"][f"kappa {name}"]["kappa"] for name in names}
    data = figures["collect"]
    ties = {key: counts["ties"] for key, counts in figures["pair"].items() if isinstance(counts, dict)}
    return make_report(
        job.make_game(),
        job.objectives,
        played={name: read_trajectories(main_job.played_file(job, name)) for name in figures["play"]},
        kinds={name: KINDS.get(name, "learned") for name in figures["play"]},
        sweeps={power: main_job.sweep_weights(job, power) for power in (GEOMETRIC, ARITHMETIC)},
        seconds=run.total,
        seed=job.settings.seed,
        rater_kappa=sum(kappas.values()) / len(kappas),
        rater_kappas=kappas,
        retrained=tuple(_point(row) for row in figures["retrain"]["points"]),
        learning_seconds=sum(figures["learn"][f"oracle {name}"]["seconds"] for name in names),
        data={"episodes": data["episodes"], "steps": data["steps"], "ties": json_format.dumps(ties)},
        settings={**asdict(job.settings), **asdict(main_job.cpl_config())},
        notes=_notes(job, figures["judge"]),
    )


def _notes(job: MainJob, annotated: dict[str, Any]) -> tuple[str, ...]:
    contradicted = sum(annotated[f"orders disagree {name}"] for name in job.settings.objectives)
    asked = len(job.settings.objectives) * job.settings.judged
    return (
        f"The judge was asked each of {asked} pairs in both orders; on {contradicted} it named the same "
        "place both times, whatever stood there. Its label is the sign of the mean of both orders' log-odds.",
    )


def _point(row: dict[str, Any]) -> WeightPoint:
    return WeightPoint(
        weights=SteeringWeights(row["weights"]),
        returns=row["returns"],
        stderr=row["stderr"],
        metrics={name: Estimate(**value) for name, value in row["metrics"].items()},
        seconds=row["seconds"],
    )
