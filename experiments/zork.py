"""Zork I by agents: random play, a language model, and CPL agents for the score and for harm avoidance.

    python experiments/zork.py --story DIR/zork1.z3 --walkthrough DIR/zork1_walkthrough.txt \
        --annotations DIR/zork1_annotations.csv

Finds the commands to list, plays at random, compares continuations by score and by Jiminy Cricket's
annotations (recognised by the texts that they quote), trains one CPL agent for each, and plays all. An
interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from console import say, wrote

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import Policy, SteeringWeights, Trajectory, UniformPolicy
from pluralign.core.files import replace_when_whole, write_json
from pluralign.core.records import read_trajectories
from pluralign.evaluate.statistics import estimate, paired_difference
from pluralign.games.zmachine.load import load_zmachine
from pluralign.games.zmachine.prepare import prepare_candidates
from pluralign.options.language_policy import LanguageModelPolicy
from pluralign.steer.steered_policy import SteeredPolicy
from pluralign.workflows import main_job
from pluralign.workflows.main_job import JobSettings, MainJob
from pluralign.workflows.stages import StagedRun

RESULTS = Path(__file__).parent / "results"
OBJECTIVES = ("score", "harm_avoidance")
RANDOM = "random"


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        story: Path of Zork I's story file.
        walkthrough: Jiminy Cricket's walkthrough.
        annotations: Jiminy Cricket's annotations.
        out: Working folder.
        model: Language model that plays and provides features.
        steps: Number of commands of an episode.
        explored: Number of random episodes in which commands are tried, after the walkthrough.
        episodes: Number of random episodes of the offline data.
        comparisons: Number of comparisons by the oracle, for each objective.
        play: Number of episodes on which each policy is evaluated, for each seed.
        seeds: Number of seeds of data, training and play.
        results: Folder of the result files.
    """

    story: Path
    walkthrough: Path
    annotations: Path
    out: Path = Path("runs/zork")
    model: str = main_job.DEFAULT_MODEL
    steps: int = 20
    explored: int = 4
    episodes: int = 30
    comparisons: int = 2000
    play: int = 20
    seeds: int = 2
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Explore; for each seed collect, annotate, pair, train and play; report as results come."""
    side = write_side_file(settings)
    sizes = {"steps": settings.steps, "explored": settings.explored}
    first = StagedRun(settings.out, stages=1)
    found = first.stage("candidates", "commands are tried", sizes, lambda: explore(side, settings))
    jobs: list[MainJob] = []
    seconds = first.total
    for seed in range(1, settings.seeds + 1):
        known = JobSettings(
            story=str(side),
            seed=seed,
            model=settings.model,
            episodes=settings.episodes,
            comparisons=settings.comparisons,
            play=settings.play,
            objectives=OBJECTIVES,
        )
        jobs.append(MainJob(settings.out / f"seed-{seed}", known))
        seconds += run_job(jobs[-1], sizes)
        write_results(figures_of(jobs, settings, found, seconds), settings)


def run_job(job: MainJob, sizes: Mapping[str, Any]) -> float:
    """All stages of one seed; their duration in seconds."""
    steps = StagedRun(job.folder, stages=5)
    known = {**asdict(job.settings), **sizes}
    steps.stage("collect", f"seed {job.settings.seed}: random play", known, lambda: collect_offline(job))
    steps.stage("annotate", "the oracle compares", {}, lambda: main_job.annotate_by_oracle(job))
    steps.stage("pair", "pairs from annotations", {}, lambda: main_job.pair_all(job, {"oracle": "soft"}))
    cpl = asdict(main_job.cpl_config())
    steps.stage("learn", "one agent per objective", cpl, lambda: main_job.learn_all(job, ["oracle"]))
    steps.stage("play", "every policy plays", {}, lambda: play_all(job))
    return steps.total


def write_side_file(settings: Settings) -> Path:
    """Write the story's side file."""
    path = settings.out / "zork1.pluralign.json"
    files = {
        "zmachine": settings.story,
        "walkthrough": settings.walkthrough,
        "annotations": settings.annotations,
    }
    write_json(
        path,
        {
            **{name: str(file.resolve()) for name, file in files.items()},
            "title": "Zork I",
            "annotated_by": "quotes",
            "max_moves": settings.steps,
            "try_unknown": False,
        },
    )
    return path


def explore(side: Path, settings: Settings) -> dict[str, Any]:
    """Find the commands to list; the walkthrough is played to its end."""
    story = load_zmachine(side)
    return asdict(prepare_candidates(story, episodes=settings.explored, max_steps=settings.steps, seed=1))


def collect_offline(job: MainJob) -> dict[str, Any]:
    """Random play: the offline data."""
    report = collect(
        job.make_game,
        PolicyChooser(UniformPolicy()),
        job.trajectories,
        episodes=job.settings.episodes,
        seed=job.settings.seed,
        objectives=job.objectives,
        progress=False,
    )
    return report.as_json()


def play_all(job: MainJob) -> dict[str, Any]:
    """Play every policy, and store its episodes; their k-th episodes begin alike."""
    figures: dict[str, Any] = {}
    for name, policy in players(job).items():
        report = collect(
            job.make_game,
            PolicyChooser(policy),
            main_job.played_file(job, name),
            episodes=job.settings.play,
            seed=job.settings.seed + 1,
            objectives=job.objectives,
            progress=False,
        )
        job.models.store.flush()
        figures[name] = report.as_json()
        say(f"  {name:24} " + ", ".join(f"{o} {mean:.2f}" for o, mean in report.mean_returns.items()))
    return figures


def players(job: MainJob) -> dict[str, Policy]:
    """Policies by name."""
    agents = job.open("oracle")
    return {
        RANDOM: UniformPolicy(),
        "language model": LanguageModelPolicy(job.models.language_model, job.models.store),
        **{f"CPL {name}": policy for name, policy in agents.items()},
        "CPL, weights 0.5 and 0.5": SteeredPolicy(agents, SteeringWeights(dict.fromkeys(agents, 0.5))),
    }


def figures_of(
    jobs: Sequence[MainJob], settings: Settings, found: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Means with intervals over the episodes of all seeds, and differences from random play."""
    played = {
        name: [e for job in jobs for e in read_trajectories(main_job.played_file(job, name))]
        for name in players(jobs[0])
    }
    data = [episode for job in jobs for episode in read_trajectories(job.trajectories)]
    rows: dict[str, Any] = {}
    for name, episodes in played.items():
        rows[name] = {
            o: {
                **estimate(returns(episodes, o)).to_json(),
                "more than random": paired_difference(
                    returns(episodes, o), returns(played[RANDOM], o)
                ).to_json(),
            }
            for o in OBJECTIVES
        }
    labelled = sum(step.rewards["harm_avoidance"] != 0 for episode in data for step in episode.steps)
    return {
        "model": settings.model,
        "seeds": len(jobs),
        "commands per episode": settings.steps,
        "explored": settings.explored,
        "data": {"episodes": len(data), "steps": sum(len(e.steps) for e in data), "labelled steps": labelled},
        "candidates": {name: found[name] for name in ("keys", "commands", "score")},
        "max_points": jobs[0].make_game().info.max_points,
        "episodes per policy": settings.play * len(jobs),
        "cpl": asdict(main_job.cpl_config()),
        "policies": rows,
        "seconds": round(seconds),
    }


def returns(episodes: Sequence[Trajectory], objective: str) -> list[float]:
    """Return of each episode."""
    return [sum(step.rewards[objective] for step in episode.steps) for episode in episodes]


def write_results(figures: dict[str, Any], settings: Settings) -> None:
    """``zork.json`` and ``zork.md``."""
    write_json(settings.results / "zork.json", figures)
    with replace_when_whole(settings.results / "zork.md") as temporary:
        temporary.write_text(table(figures) + "\n", encoding="utf-8")
    wrote(settings.results / "zork.md", "and zork.json")


def table(figures: Mapping[str, Any]) -> str:
    """Markdown of the policies."""
    found, data = figures["candidates"], figures["data"]
    lines = [
        "# Zork I",
        "",
        "`python experiments/zork.py`",
        "",
        f"The walkthrough ends with {found['score']} of {figures['max_points']:g} points. In its states and "
        f"in those of {figures['explored']} random episodes, {found['commands']} commands did something.",
        "",
        f"Episodes of {figures['commands per episode']} commands. Offline data: {data['episodes']} random "
        f"episodes ({data['steps']} steps, {data['labelled steps']} of them labelled), divided among "
        f"{figures['seeds']} seeds. For each seed, one CPL agent per objective with features of "
        f"{figures['model']}. Means over {figures['episodes per policy']} episodes (all seeds), 95 % "
        "intervals; differences are those of paired episodes. harm_avoidance is minus the degrees of what is "
        "bad to others, in rows that are recognised by their quoted text; repetitions count again.",
        "",
        "| policy | score | more than random | harm_avoidance | more than random |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in figures["policies"].items():
        cells = [f"{_cell(row[o])} | {_cell(row[o]['more than random'])}" for o in OBJECTIVES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


if __name__ == "__main__":
    run(tyro.cli(Settings))
