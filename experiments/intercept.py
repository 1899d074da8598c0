"""Steering on The Intercept, an Ink story by inkle, with two objectives from its own variables.

    python experiments/intercept.py --story DIR/TheIntercept.v21.json

The story counts how forceful and how evasive its prisoner is. smollm2-135m plays, pairs of continuations are
compared by the story's variables, one CPL agent is trained per variable, and the weights are swept, for each
training seed anew. An interrupted run continues.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, wrote

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import Policy, UniformPolicy
from pluralign.core.files import replace_when_whole, write_json
from pluralign.core.records import read_trajectories
from pluralign.evaluate.rank_correlation import spearman
from pluralign.evaluate.report.model import Kind, Report
from pluralign.evaluate.report.page import write_picture, write_report
from pluralign.evaluate.report.summary import make_report
from pluralign.options.language_policy import LanguageModelPolicy
from pluralign.steer.mixing import GEOMETRIC
from pluralign.workflows import main_job
from pluralign.workflows.main_job import JobSettings, MainJob
from pluralign.workflows.stages import StagedRun

RESULTS = Path(__file__).parent / "results"

SIDE_FILE: dict[str, Any] = {
    "title": "The Intercept",
    "author": "inkle",
    "summary": "Bletchley Park, 1942. A part of the Bombe is missing, and the commander asks who took it.",
    "player_character": "A code-breaker who is locked up and questioned.",
    "max_options": 8,
    "objectives": {
        "forceful": {
            "description": "The prisoner pushes back: accuses, demands, loses his temper, acts.",
            "coefficients": {"variable.forceful": 1},
        },
        "evasive": {
            "description": "The prisoner gives nothing away: dodges questions, changes the subject.",
            "coefficients": {"variable.evasive": 1},
        },
    },
}
KINDS: dict[str, Kind] = {"random": "random", "language model": "language_model", "BC": "cloned"}


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        story: Path of the compiled story.
        out: Working folder.
        model: Language model that plays and provides features.
        episodes: Number of the language model's episodes, the offline data.
        temperature: Temperature of its play, chosen on seed 0; at 1 it explores too little for training.
        comparisons: Number of comparisons by the oracle, for each objective.
        play: Number of episodes per policy and per weighting.
        seeds: Random seeds of all stages, one run each.
        results: Folder of the result files.
    """

    story: Path
    out: Path = Path("runs/intercept")
    model: str = main_job.DEFAULT_MODEL
    episodes: int = 1000
    temperature: float = 3.0
    comparisons: int = 10_000
    play: int = 300
    seeds: tuple[int, ...] = (1, 2, 3)
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Run every seed; the tables are written after each."""
    side = settings.out / "the_intercept.pluralign.json"
    write_json(side, {"ink": str(settings.story.resolve()), **SIDE_FILE})
    runs: list[dict[str, Any]] = []
    for seed in settings.seeds:
        say(f"seed {seed}")
        report = run_seed(settings, side, seed)
        if not runs:
            write_picture(report, settings.results / "intercept.svg")
        runs.append(figures_of(report))
        write_results(runs, settings)
    wrote(settings.results / "intercept.md", "and intercept.json, intercept.svg")


def run_seed(settings: Settings, side: Path, seed: int) -> Report:
    """Collect, annotate, pair, train, sweep, report."""
    folder = settings.out / str(seed)
    known = JobSettings(
        story=str(side),
        seed=seed,
        model=settings.model,
        episodes=settings.episodes,
        temperature=settings.temperature,
        comparisons=settings.comparisons,
        play=settings.play,
        objectives=("forceful", "evasive"),
    )
    job = MainJob(folder, known)
    # Features depend only on the story's text, so the seeds share them.
    job.models.features = settings.out / "features"
    steps = StagedRun(folder, stages=6)
    cpl = asdict(main_job.cpl_config())
    rule: dict[str, Any] = {"oracle": "soft"}
    data = steps.stage(
        "collect", "the language model plays", asdict(known), lambda: main_job.collect_offline(job)
    )
    steps.stage("annotate", "the story's variables compare", {}, lambda: main_job.annotate_by_oracle(job))
    steps.stage("pair", "pairs from annotations", {}, lambda: main_job.pair_all(job, rule))
    steps.stage("learn", "one agent per objective", cpl, lambda: main_job.learn_all(job, ["oracle"]))
    steps.stage("play", "every policy plays", {}, lambda: play_all(job))
    steps.stage("sweep", "sweep over weights", {}, lambda: {"points": len(main_job.sweep_weights(job))})
    return report_of(job, steps, data)


def play_all(job: MainJob) -> dict[str, Any]:
    """Play every policy of the report, and store its episodes."""
    figures: dict[str, Any] = {}
    for name, policy in players(job).items():
        report = collect(
            job.make_game,
            PolicyChooser(policy),
            main_job.played_file(job, name),
            episodes=job.settings.play,
            # A different seed than the offline data, otherwise the language model would play the same
            # episodes.
            seed=job.settings.seed + 1,
            objectives=job.objectives,
            progress=False,
        )
        figures[name] = report.as_json()
        say(f"  {name:20} " + ", ".join(f"{o} {mean:.2f}" for o, mean in report.mean_returns.items()))
    return figures


def players(job: MainJob) -> dict[str, Policy]:
    """Policies by name."""
    models = job.models
    return {
        "random": UniformPolicy(),
        "language model": LanguageModelPolicy(
            models.language_model, models.store, temperature=job.settings.temperature
        ),
        "BC": main_job.open_trained(job.folder / "policies" / "bc", models),
        **{f"CPL {name}": policy for name, policy in job.open("oracle").items()},
    }


def report_of(job: MainJob, steps: StagedRun, data: dict[str, Any]) -> Report:
    """Report of a finished run, in the form of all sweeps over a story."""
    names = [*KINDS, *(f"CPL {name}" for name in job.settings.objectives)]
    report = make_report(
        job.make_game(),
        job.objectives,
        played={name: read_trajectories(main_job.played_file(job, name)) for name in names},
        kinds={name: KINDS.get(name, "learned") for name in names},
        sweeps={GEOMETRIC: main_job.sweep_weights(job)},
        seconds=steps.total,
        seed=job.settings.seed,
        data={"episodes": data["episodes"], "steps": data["steps"]},
        settings=asdict(job.settings),
    )
    wrote(write_report(report, job.folder)[1], "open it in a browser")
    return report


def figures_of(report: Report) -> dict[str, Any]:
    """What the results file has of one seed."""
    followed = {
        name: asdict(
            spearman(
                np.array([row.weights[name] for row in report.sweep]),
                np.array([row.returns[name] for row in report.sweep]),
            )
        )
        for name in report.objectives
    }
    policies = {
        name: {o: asdict(row[o]) for o in report.objectives} for name, row in report.policy_returns.items()
    }
    rows = [
        {"weights": dict(p.weights), "returns": dict(p.returns), "stderr": dict(p.stderr)}
        for p in report.sweep
    ]
    return {
        "seed": report.seed,
        "data": dict(report.data),
        "policies": policies,
        "sweep": rows,
        "spearman of an objective with its own weight": followed,
        "seconds": round(report.seconds),
    }


def write_results(runs: list[dict[str, Any]], settings: Settings) -> None:
    """``intercept.json`` and ``intercept.md``."""
    figures = {
        "model": settings.model,
        "temperature": settings.temperature,
        "comparisons": settings.comparisons,
        "episodes of each weighting": settings.play,
        "cpl": asdict(main_job.cpl_config()),
        "runs": runs,
    }
    write_json(settings.results / "intercept.json", figures)
    with replace_when_whole(settings.results / "intercept.md") as temporary:
        temporary.write_text(table(figures) + "\n", encoding="utf-8")


def table(figures: dict[str, Any]) -> str:
    """Markdown of the policies and the sweeps: means over seeds, and each seed's."""
    runs = figures["runs"]
    names = list(next(iter(runs[0]["policies"].values())))
    seeds = ", ".join(str(run["seed"]) for run in runs)
    lines = [
        "# Steering on The Intercept",
        "",
        "`python experiments/intercept.py`",
        "",
        f"{figures['model']} plays {runs[0]['data']['episodes']} episodes of inkle's story at temperature "
        f"{figures['temperature']:g}; its variables "
        f"{' and '.join(f'`{name}`' for name in names)} compare {figures['comparisons']} pairs of "
        "continuations each; one CPL agent is learned for each. Mean changes of the variables over "
        f"{figures['episodes of each weighting']} episodes, seeds {seeds}: mean, and each seed.",
        "",
        f"| who plays | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
    ]
    for player in runs[0]["policies"]:
        means = [[run["policies"][player][o]["mean"] for run in runs] for o in names]
        lines.append(f"| {player} | {' | '.join(map(_each, means))} |")
    for i, point in enumerate(runs[0]["sweep"]):
        weights = " and ".join(f"{weight:.1f} {name}" for name, weight in point["weights"].items())
        means = [[run["sweep"][i]["returns"][o] for run in runs] for o in names]
        lines.append(f"| steered, {weights} | {' | '.join(map(_each, means))} |")
    key = "spearman of an objective with its own weight"
    found = {name: [f"{run[key][name]['value']:.2f}" for run in runs] for name in names}
    ranks = [f"{name} {', '.join(values)}" for name, values in found.items()]
    lines += [
        "",
        f"Spearman's rank correlation of an objective's mean with its own weight: {'; '.join(ranks)}.",
    ]
    return "\n".join([*lines, "", f"![The sweep of seed {runs[0]['seed']}](intercept.svg)"])


def _each(values: list[float]) -> str:
    mean = f"{np.mean(values):.2f}"
    return f"{mean} ({', '.join(f'{value:.2f}' for value in values)})" if len(values) > 1 else mean


if __name__ == "__main__":
    run(tyro.cli(Settings))
