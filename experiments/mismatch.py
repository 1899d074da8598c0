"""Whether what trainings on the stories watch goes with the score that their policies get.

    python experiments/mismatch.py

CPL, values learned offline and AVRIL, each under several settings and seeds, on frozen features of
SmolLM2-135M. Every figure of the runs' cards (losses, accuracies, the expected return) is compared with the
exact score by rank (`evaluate mismatch`). Every run is a folder in ``--out``; an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from afd_lib.report import write_table
from console import say, write_page, wrote

import pluralign as pl
from pluralign.core.files import write_json
from pluralign.evaluate.mismatch import find_mismatch, story_returns
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import explore
from pluralign.learn.options.avril import AVRILConfig, fit_avril
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.q import QConfig, fit_q
from pluralign.options.features import FeatureSource
from pluralign.options.open import Models
from pluralign.options.option_reward import load_option_reward

OBJECTIVE = "score"
STEPS = (50, 150, 450)
"""Numbers of optimizer steps of each method's runs."""
FURTHER: dict[str, dict[str, Any]] = {
    "cpl": {"conservative_bias": 0.5}, "q": {"heads": 1, "unseen": "free"}, "avril": {"kl_weight": 4.0},
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
    stories: tuple[str, ...] = ("salt_ledger",)
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

    return {"cpl": cpl, "q": q, "avril": avril}


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


def demonstrators(folders: Sequence[Path], name: str, models: Models) -> dict[str | Path, float]:
    """Exact scores of the demonstrators that AVRIL's posteriors imply."""
    story = pl.open_story(name)
    graph, wanted = explore(story.make_game()), story.info.select((OBJECTIVE,))
    return {
        folder: exact_returns(graph, load_option_reward(folder, models.store), wanted).objectives[OBJECTIVE]
        for folder in folders
    }


def run(settings: Settings) -> None:
    """Train all runs, and write mismatch.json and mismatch.md."""
    models = Models(settings.model, settings.features)
    rows: list[dict[str, Any]] = []
    for name in settings.stories:
        for method, folders in runs_of(name, models, settings).items():
            if method == "avril":
                # A posterior over rewards, which the verb does not play.
                outcomes = demonstrators(folders, name, models)
            else:
                outcomes = story_returns(folders, name, OBJECTIVE, models=models)
            found = find_mismatch(outcomes)
            rows += [
                {
                    "story": name, "method": method, "runs": len(folders), "figure": figure,
                    "correlation": correlation.value, "low": correlation.low, "high": correlation.high,
                    "scores": list(outcomes.values()), "values": list(found.figures[figure]),
                }
                for figure, correlation in found.correlations.items()
            ]  # fmt: skip
            write_results(rows, settings)
    wrote(settings.results / "mismatch.md", f"{len(rows)} figures")


def write_results(rows: Sequence[dict[str, Any]], settings: Settings) -> None:
    """``mismatch.json`` and ``mismatch.md``."""
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "mismatch.json", list(rows))
    lines = [
        "# Objective mismatch on the stories", "", "`python experiments/mismatch.py`", "",
        "Spearman's rank correlation of what a training's card says with the exact score, and its 95 %",
        f"interval, over runs of {settings.seeds} seeds under {len(settings.steps) + 1} settings.",
        *write_table(
            ("story", "method", "runs", "figure", "correlation", "scores"),
            [
                (row["story"], row["method"], str(row["runs"]), row["figure"],
                 f"{row['correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
                 f"{min(row['scores']):.0f} to {max(row['scores']):.0f}")
                for row in rows
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "mismatch.md", lines)


if __name__ == "__main__":
    run(tyro.cli(Settings))
