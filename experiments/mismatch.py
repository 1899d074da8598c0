"""Whether what trainings on the stories watch goes with the score that their policies get.

    python experiments/mismatch.py

CPL, values learned offline (of the best options, and expectiles of those taken) and AVRIL, each under several
settings and seeds, on frozen features of SmolLM2-135M. Every figure of the runs' cards (losses, accuracies,
the expected return) is compared with the exact score by rank (`evaluate mismatch`), story by story. Every run
is a folder in ``--out``; an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from afd_lib.report import cell, over_runs, write_table
from console import say, write_page, wrote

import pluralign as pl
from pluralign.core.files import write_json
from pluralign.evaluate.mismatch import find_mismatch, story_returns
from pluralign.evaluate.rank_correlation import spearman
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import explore
from pluralign.learn.options.avril import AVRILConfig, fit_avril
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.q import QConfig, fit_q
from pluralign.options.features import FeatureSource
from pluralign.options.open import Models

OBJECTIVE = "score"
STEPS = (50, 150, 450)
"""Numbers of optimizer steps of each method's runs."""
FURTHER: dict[str, dict[str, Any]] = {
    "cpl": {"conservative_bias": 0.5}, "q": {"heads": 1, "unseen": "free"}, "expectile": {"tau": 0.7},
    "avril": {"kl_weight": 4.0},
}  # fmt: skip
"""Settings of one more run of each method, with the largest number of steps."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        features: Folder that keeps the features between runs.
        model: Frozen trunk.
        stories: Names of the stories.
        seeds: Number of seeds of play and of training, counted from 1.
        episodes: Number of random episodes; AVRIL's demonstrations are as many of the best of ten times as
            many.
        comparisons: Number of comparisons by the oracle, for CPL.
        steps: Numbers of optimizer steps.
        results: Folder of the result files.
    """

    out: Path = Path("runs/mismatch")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    stories: tuple[str, ...] = tuple(list_stories())
    seeds: int = 3
    episodes: int = 100
    comparisons: int = 1000
    steps: tuple[int, ...] = STEPS
    results: Path = Path(__file__).parent / "results"


def learners(
    story: Any, seed: int, store: FeatureSource, settings: Settings
) -> Mapping[str, Callable[[Path, dict[str, Any]], Any]]:
    """Functions from a folder and settings to a trained policy, by method."""
    (score,) = story.info.select((OBJECTIVE,))
    play = partial(pl.roll_out, story.make_game, pl.UniformPolicy(), seed=seed, objectives=[score])
    played = list(play(episodes=settings.episodes))

    def cpl(out: Path, changed: dict[str, Any]) -> Any:
        compared = pl.make_comparisons(played, count=settings.comparisons, seed=seed)
        rated = pl.Oracle(played, seed=seed).rate(compared, score)
        said = [
            pl.Annotation(one, OBJECTIVE, "oracle", rating.preference)
            for one, rating in zip(compared, rated, strict=True) if rating is not None
        ]  # fmt: skip
        pairs = pl.make_pairs(said, ties="soft")
        return fit_cpl(
            pairs, store=store, out=out, config=CPLConfig(**changed), trajectories=played, seed=seed
        )

    def avril(out: Path, changed: dict[str, Any]) -> Any:
        many = sorted(play(episodes=10 * settings.episodes), key=lambda one: -one.returns()[OBJECTIVE])
        return fit_avril(
            many[: settings.episodes], store=store, out=out, config=AVRILConfig(**changed), seed=seed
        )

    def q(out: Path, changed: dict[str, Any]) -> Any:
        return fit_q(
            played, store=store, out=out, objectives=[score], objective=OBJECTIVE, config=QConfig(**changed),
            seed=seed,
        )  # fmt: skip

    def expectile(out: Path, changed: dict[str, Any]) -> Any:
        return q(out, {"backup": "expectile", **changed})

    return {"cpl": cpl, "q": q, "expectile": expectile, "avril": avril}


def runs_of(name: str, models: Models, settings: Settings) -> dict[str, list[Path]]:
    """Folders of all runs on a story, by method."""
    story = pl.open_story(name)
    found: dict[str, list[Path]] = {}
    for seed in range(1, settings.seeds + 1):
        for method, learn in learners(story, seed, models.store, settings).items():
            plans: list[dict[str, Any]] = [{"steps": steps} for steps in settings.steps]
            plans.append({"steps": max(settings.steps), **FURTHER[method]})
            for number, changed in enumerate(plans):
                out = settings.out / name / f"{method}-{number}-{seed}"
                if not (out / "card.json").exists():
                    say(f"{name}: {method}, {changed}, seed {seed}")
                    learn(out, changed)
                found.setdefault(method, []).append(out)
    return found


def run(settings: Settings) -> None:
    """Train all runs, and write mismatch.json and mismatch.md."""
    models = Models(settings.model, settings.features)
    rows: list[dict[str, Any]] = []
    for name in settings.stories:
        for method, folders in runs_of(name, models, settings).items():
            outcomes = story_returns(folders, name, OBJECTIVE, models=models)
            rows += [
                {"story": name, "method": method, "random": random_score(name), **row}
                for row in compared(outcomes, settings)
            ]
            write_results(rows, settings)
    wrote(settings.results / "mismatch.md", f"{len(rows)} figures")


def random_score(name: str) -> float:
    """Exact score of random play."""
    story = pl.open_story(name)
    goals = story.info.select((OBJECTIVE,))
    return exact_returns(explore(story.make_game()), pl.UniformPolicy(), goals).objectives[OBJECTIVE]


def compared(outcomes: Mapping[str | Path, float], settings: Settings) -> list[dict[str, Any]]:
    """Every figure's correlation with the scores: of all runs, and of those that differ in steps and seed."""
    found, scores = find_mismatch(outcomes), list(outcomes.values())
    plain = [int(Path(folder).name.split("-")[1]) < len(settings.steps) for folder in outcomes]

    def kept(values: Sequence[float]) -> list[float]:
        return [value for value, keep in zip(values, plain, strict=True) if keep]

    return [
        {
            "runs": len(scores), "figure": figure, "all": asdict(one),
            "by_steps": asdict(spearman(kept(found.figures[figure]), kept(scores))),
            "scores": scores, "values": list(found.figures[figure]),
        }
        for figure, one in found.correlations.items()
    ]  # fmt: skip


def over_stories(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean of the stories' correlations for each method and figure, with an interval over stories."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["figure"]), []).append(row)
    return [
        {
            "method": method, "figure": figure, "stories": len(own),
            "all": over_runs([row["all"]["value"] for row in own]),
            "by_steps": over_runs([row["by_steps"]["value"] for row in own]),
        }
        for (method, figure), own in groups.items()
    ]  # fmt: skip


def write_results(rows: Sequence[dict[str, Any]], settings: Settings) -> None:
    """``mismatch.json`` and ``mismatch.md``."""
    settings.results.mkdir(parents=True, exist_ok=True)
    across = over_stories(rows)
    write_json(settings.results / "mismatch.json", {"stories": list(rows), "over_stories": across})
    lines = [
        "# Objective mismatch on the stories", "", "`python experiments/mismatch.py`", "",
        "Spearman's rank correlation of what a training's card says with the exact score, over runs of",
        f"{settings.seeds} seeds under {len(settings.steps) + 1} settings, and over those that differ in the",
        "number of steps only: the mean over stories, its 95 % interval over stories, and each story with",
        "its interval over runs.",
        *write_table(
            ("method", "figure", "stories", "correlation", "by steps"),
            [
                (row["method"], row["figure"], str(row["stories"]), cell(row["all"]), cell(row["by_steps"]))
                for row in across
            ],
        ),
        *write_table(
            ("story", "method", "runs", "figure", "correlation", "by steps", "scores", "random play"),
            [
                (row["story"], row["method"], str(row["runs"]), row["figure"],
                 *(f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
                   for one in (row["all"], row["by_steps"])),
                 f"{min(row['scores']):.0f} to {max(row['scores']):.0f}", f"{row['random']:.0f}")
                for row in rows
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "mismatch.md", lines)


if __name__ == "__main__":
    run(tyro.cli(Settings))
