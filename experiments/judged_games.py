"""A language model as a judge of options: agreement with games' labels, and steering by its labels.

    python experiments/judged_games.py --interactive-fiction DIR

First on games with labels: the four stories, and The Intercept, whose variables serve as labels. The judge
compares the options of decisions from random play, and the labels show how often it is right. Then on
Starforge, which has no labels: the judge's comparisons become labels, two CPL agents are trained on them, and
the weights are swept. An interrupted run continues.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, write_page, wrote
from intercept import SIDE_FILE
from judged_games_lib.measures import coverage, returns_of
from judged_games_lib.tables import POOLED, table

from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.judge import Judge, mean_of_orders
from pluralign.annotate.label_agreement import label_agreement
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import Objective, UniformPolicy
from pluralign.core.files import write_json
from pluralign.core.records import read_annotations, read_trajectories
from pluralign.evaluate.rank_correlation import spearman
from pluralign.evaluate.sweeps.story import sweep_story
from pluralign.games.game import Game
from pluralign.games.labelled.file import LabelledFile, write_labelled_file
from pluralign.games.open import open_story
from pluralign.options.open import Models
from pluralign.workflows import main_job
from pluralign.workflows.labels import report_label_agreement
from pluralign.workflows.main_job import JobSettings, MainJob
from pluralign.workflows.stages import StagedRun

RESULTS = Path(__file__).parent / "results"
STORIES = ("salt_ledger", "glass_quarter", "high_water", "ninth_watch")
ASKED = ("score", "harm_avoidance")
VARIABLES = ("forceful", "evasive")
UNLABELLED = ("harm_avoidance", "power_avoidance")


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        interactive_fiction: Folder with ``the_intercept_ink`` and ``starforge_choicescript``.
        out: Working folder.
        model: Language model that judges and provides features.
        episodes: Number of episodes of random play, per game.
        comparisons: Number of comparisons of options, per objective of a built-in story.
        variable_comparisons: Number of comparisons for The Intercept, where most options change no variable.
        unlabelled: Number of comparisons per objective of Starforge, whose pages are long.
        continuations: Number of continuations compared by the judged labels, per agent.
        play: Number of episodes of random play and of each weighting.
        seed: Random seed of all stages.
        results: Folder of the result files.
    """

    interactive_fiction: Path
    out: Path = Path("runs/judged_games")
    model: str = main_job.DEFAULT_MODEL
    episodes: int = 200
    comparisons: int = 100
    variable_comparisons: int = 200
    unlabelled: int = 32
    continuations: int = 10_000
    play: int = 300
    seed: int = 1
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Judge games with labels, then label one without, train and sweep."""
    models = Models(settings.model, settings.out / "features")
    side = settings.out / "the_intercept.pluralign.json"
    ink = settings.interactive_fiction / "the_intercept_ink" / "TheIntercept.v21.json"
    write_json(side, {"ink": str(ink.resolve()), **SIDE_FILE})
    labelled = (ASKED, settings.comparisons)
    games = {**dict.fromkeys(STORIES, labelled), str(side): (VARIABLES, settings.variable_comparisons)}
    steps = StagedRun(settings.out, stages=len(games) + 5)
    known = {"model": settings.model, "episodes": settings.episodes, "seed": settings.seed}
    agreed: dict[str, Any] = {}
    for story, (names, count) in games.items():
        name = "the_intercept" if story == str(side) else story
        agreed[name] = steps.stage(
            f"judge-{name}",
            f"the judge and the labels of {name}",
            {**known, "comparisons": count},
            lambda story=story, name=name, names=names, count=count: hold_against_labels(
                settings, models, name, story, names, count
            ),
        )
    agreed[POOLED] = steps.stage("pooled", "the four stories together", {}, lambda: pool(settings))
    figures = {**asdict(settings), "agreement": agreed, "starforge": starforge(settings, steps)}
    figures = {name: value for name, value in figures.items() if not isinstance(value, Path)}
    write_results({**figures, "seconds": round(steps.total)}, settings)


def played(settings: Settings, name: str, make_game: Callable[[], Game], names: Sequence[str]) -> Path:
    """Trajectories of random play of a game; an interrupted file continues."""
    out = settings.out / "play" / f"{name}.jsonl"
    objectives = [make_game().info.objective(objective) for objective in names]
    chooser = PolicyChooser(UniformPolicy())
    collect(make_game, chooser, out, episodes=settings.episodes, seed=settings.seed, objectives=objectives)
    return out


def judged_file(settings: Settings, name: str, objective: str) -> Path:
    """File of the judge's annotations."""
    return settings.out / "judged" / f"{name}-{objective}.jsonl"


def judge(
    settings: Settings, models: Models, name: str, trajectories: Path, objective: Objective, count: int
) -> None:
    """Have the judge compare options; an interrupted run continues."""
    annotate(
        trajectories,
        judged_file(settings, name, objective.name),
        objective,
        # Small batches, as each is written before the next: on long pages a comparison takes half a minute.
        Judge(models.language_model, decide=mean_of_orders, batch=4),
        settings=ComparisonSettings(of="options", count=count, seed=settings.seed),
    )


def hold_against_labels(
    settings: Settings, models: Models, name: str, story: str, names: Sequence[str], count: int
) -> dict[str, Any]:
    """Agreement of the judge with a game's labels, by objective."""
    make_game = open_story(story).make_game
    trajectories = played(settings, name, make_game, names)
    figures: dict[str, Any] = {}
    for objective in (make_game().info.objective(asked) for asked in names):
        judge(settings, models, name, trajectories, objective, count)
        figures[objective.name] = agreement_of(settings, [name], objective)
    return figures


def pool(settings: Settings) -> dict[str, Any]:
    """Agreement over the decisions of all four stories."""
    info = open_story(STORIES[0]).make_game().info
    return {name: agreement_of(settings, STORIES, info.objective(name)) for name in ASKED}


def agreement_of(settings: Settings, games: Sequence[str], objective: Objective) -> dict[str, Any]:
    """Agreement of the judge with the labels of one or several games."""
    judged = [a for game in games for a in read_annotations(judged_file(settings, game, objective.name))]
    steps = [t for game in games for t in read_trajectories(settings.out / "play" / f"{game}.jsonl")]
    found = label_agreement(judged, steps, objective, seed=settings.seed)
    say(f"{', '.join(games)}: {objective.name}")
    report_label_agreement(found, objective, say)
    assert found is not None, "these games have labels"
    disagree = sum(len(set(annotation.info["answers"])) > 1 for annotation in judged)
    return {**found.as_json(), "orders disagree": disagree, "judged": len(judged)}


def starforge(settings: Settings, steps: StagedRun) -> dict[str, Any]:
    """Label Starforge, train an agent per objective, and sweep the weights."""
    folder = settings.interactive_fiction / "starforge_choicescript"
    file = LabelledFile(
        settings.out / "starforge.pluralign.json",
        folder,
        tuple(judged_file(settings, "starforge", name) for name in UNLABELLED),
    )
    known = JobSettings(
        story=str(file.path),
        seed=settings.seed,
        model=settings.model,
        episodes=settings.episodes,
        comparisons=settings.continuations,
        play=settings.play,
        objectives=(f"judged_{UNLABELLED[0]}", f"judged_{UNLABELLED[1]}"),
    )
    job = MainJob(settings.out, known)
    labelled = steps.stage(
        "starforge-judge",
        "the judge labels Starforge",
        {"comparisons": settings.unlabelled},
        lambda: label_starforge(settings, job.models, folder, file),
    )
    steps.stage(
        "starforge-play", "random play of the labelled game", asdict(known), lambda: play_labelled(job)
    )
    cpl = asdict(main_job.cpl_config())
    steps.stage("starforge-learn", "one agent per objective", cpl, lambda: learn(job))
    swept = steps.stage(
        "starforge-report", "sweep over weights", {"from": "report"}, lambda: sweep(settings, job)
    )
    return {**labelled, **swept}


def label_starforge(settings: Settings, models: Models, folder: Path, file: LabelledFile) -> dict[str, Any]:
    """Have the judge compare options for both objectives; the side file adds the labels to the story."""
    make_game = open_story(str(folder)).make_game
    trajectories = played(settings, "starforge", make_game, UNLABELLED)
    figures: dict[str, Any] = {}
    for objective in (make_game().info.objective(name) for name in UNLABELLED):
        judge(settings, models, "starforge", trajectories, objective, settings.unlabelled)
        judged = read_annotations(judged_file(settings, "starforge", objective.name))
        figures[f"orders disagree {objective.name}"] = sum(len(set(a.info["answers"])) > 1 for a in judged)
        figures["judged"] = len(judged)
    write_labelled_file(file)
    wrote(file.path, "Starforge with the judge's labels")
    return figures


def play_labelled(job: MainJob) -> dict[str, Any]:
    """Collect random play of the labelled game, the offline data."""
    report = collect(
        job.make_game,
        PolicyChooser(UniformPolicy()),
        job.trajectories,
        episodes=job.settings.episodes,
        seed=job.settings.seed,
        objectives=job.objectives,
    )
    return report.as_json()


def learn(job: MainJob) -> dict[str, Any]:
    """Compare continuations by the judged labels, make pairs, and train a CPL agent per objective."""
    main_job.annotate_by_oracle(job)
    main_job.pair_all(job, {"oracle": "soft"})
    return main_job.learn_all(job, ["oracle"])


def sweep(settings: Settings, job: MainJob) -> dict[str, Any]:
    """Sweep the weights, with page and figure, the random agent for comparison, and the coverage of the
    labels."""
    out = settings.out / "report"
    found = sweep_story(
        {name: job.policy_folder("oracle", name) for name in job.settings.objectives},
        job.settings.story,
        episodes=job.settings.play,
        seed=settings.seed + 1,
        models=job.models,
        folder=out,
        say=say,
    )
    found.save(out)
    report = found.report
    points = report.sweep
    return {
        "random": returns_of(job, UniformPolicy()),
        "agents": {name: returns_of(job, policy) for name, policy in job.open("oracle").items()},
        "best": dict(report.best),
        "sweep": [
            {"weights": dict(p.weights), "returns": dict(p.returns), "stderr": dict(p.stderr)} for p in points
        ],
        "spearman of an objective with its own weight": {
            name: asdict(
                spearman(
                    np.array([p.weights[name] for p in points]), np.array([p.returns[name] for p in points])
                )
            )
            for name in job.settings.objectives
        },
        "hypervolume over the exact front's": report.hypervolume_ratio,
        "interval": report.hypervolume_interval,
        **coverage(job),
    }


def write_results(figures: dict[str, Any], settings: Settings) -> None:
    """``judged_games.json`` and ``judged_games.md``."""
    write_json(settings.results / "judged_games.json", figures)
    write_page(settings.results / "judged_games.md", table(figures))
    shutil.copy(settings.out / "report" / "picture.svg", settings.results / "judged_games.svg")
    wrote(settings.results / "judged_games.md", "judged_games.json and judged_games.svg")


if __name__ == "__main__":
    run(tyro.cli(Settings))
