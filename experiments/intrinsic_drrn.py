"""DRRN with an intrinsic reward from judges of options that are exact, partial, or at chance.

    python experiments/intrinsic_drrn.py

On the four stories, DRRN trains online on frozen features of SmolLM2-135M. A judge who knows which option is
worth how much (the score to be expected under random play) ranks the options of all decisions, or of half or
a tenth of them, and DRRN earns the ranks in addition to the score (`collect.intrinsic`); a judge at chance
ranks them at random. Measured is the exact score of the trained policy. An interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import cell, write_table
from console import say, write_page, wrote

import pluralign as pl
from pluralign.collect.drrn_training import train_drrn
from pluralign.collect.intrinsic import Intrinsic
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, write_json
from pluralign.core.splits import seed_for
from pluralign.evaluate.statistics import estimate, paired_difference
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import exact_returns, exact_values
from pluralign.games.state_graph import END, explore
from pluralign.options.drrn import DRRNConfig
from pluralign.options.features import FeatureSource
from pluralign.options.open import Models

SHARES = {"all judged": 1.0, "half judged": 0.5, "a tenth judged": 0.1}
"""Shares of the decisions that the judge who knows has ranked."""
NO_JUDGE, CHANCE, LASTING = "no judge", "judge at chance", "all judged, beta 0"
WAYS = (NO_JUDGE, *SHARES, LASTING, CHANCE)


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        features: Folder that keeps the features between runs.
        model: Frozen trunk.
        stories: Names of the stories.
        seeds: Number of training seeds, counted from 1.
        steps: Numbers of steps of DRRN.
        warm_up: Number of its initial random steps.
        weight: Weight of the intrinsic reward.
        results: Folder of the result files.
    """

    out: Path = Path("runs/intrinsic_drrn")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    stories: tuple[str, ...] = tuple(list_stories())
    seeds: int = 3
    steps: tuple[int, ...] = (2_500,)
    warm_up: int = 500
    weight: float = 0.1
    results: Path = Path(__file__).parent / "results"


class Judged:
    """A story, and the ranks that a judge gives its options.

    Args:
        name: Name of the story.
    """

    def __init__(self, name: str) -> None:
        self.story = pl.open_story(name)
        self.score = self.story.info.objective("score")
        self.graph = explore(self.story.make_game())

    @cached_property
    def worth(self) -> dict[str, FloatArray]:
        """Score to be expected after each option under random play, mean over a decision's states, by key."""
        graph = self.graph
        values = exact_values(graph, pl.UniformPolicy(), [self.score])[:, 0]
        after = graph.rewards([self.score])[:, 0] + values[graph.target]
        found: dict[str, list[FloatArray]] = {}
        for state in range(len(graph.states)):
            if state != END:
                own = after[graph.first[state] : graph.first[state + 1]]
                found.setdefault(graph.decisions[graph.decision_of[state]].key, []).append(own)
        return {key: np.mean(rows, axis=0) for key, rows in found.items()}

    def best(self) -> float:
        """Best attainable score."""
        return float(pl.exact_front(self.graph, [self.score]).best[0])

    def ranks(self, decisions: Sequence[pl.Decision], share: float, seed: int) -> list[FloatArray | None]:
        """Share of the other options that each beats, scaled to -1 to 1; None for a decision not judged.

        Args:
            decisions: Decisions.
            share: Share of the decisions that are judged.
            seed: Random seed of which these are.
        """
        return [
            _ranks(self.worth[one.key]) if seed_for(one.key, seed) % 1000 < 1000 * share else None
            for one in decisions
        ]


def _ranks(worth: FloatArray) -> FloatArray:
    """Share of the other options that each beats, scaled to -1 to 1; ties count half."""
    beats = np.sign(worth[:, None] - worth[None, :]).sum(axis=1)
    return np.asarray(beats / max(1, len(worth) - 1), dtype=np.float64)


def _at_random(decisions: Sequence[pl.Decision], seed: int) -> list[FloatArray]:
    return [
        _ranks(np.random.default_rng(seed_for(one.key, seed)).permutation(len(one.options)).astype(float))
        for one in decisions
    ]


def judge(judged: Judged, way: str, seed: int, settings: Settings) -> Intrinsic | None:
    """The intrinsic reward of a way."""
    if way == NO_JUDGE:
        return None
    if way == CHANCE:
        return Intrinsic(lambda decisions: _at_random(decisions, seed), settings.weight, name=way)
    share = SHARES.get(way, 1.0)
    return Intrinsic(
        lambda decisions: judged.ranks(decisions, share, seed), settings.weight,
        beta=0.0 if way == LASTING else 1.0, name=way,
    )  # fmt: skip


def measure(
    judged: Judged, way: str, steps: int, seed: int, store: FeatureSource, settings: Settings
) -> dict[str, Any]:
    """Train one policy, and measure its exact score."""
    policy = train_drrn(
        judged.story.make_game, store,
        config=DRRNConfig(steps=steps, warm_up=settings.warm_up), seed=seed,
        intrinsic=judge(judged, way, seed, settings),
    )  # fmt: skip
    returns = exact_returns(judged.graph, policy, [judged.score]).objectives
    return {"score": returns["score"] / judged.best(), "curve": policy.card.figures["curve"]}


def run(settings: Settings) -> None:
    """Measure everything, and write the tables as results come."""
    rows: list[dict[str, Any]] = []
    stories: dict[str, Judged] = {}
    models = Models(settings.model, settings.features)
    for steps in settings.steps:
        for seed in range(1, settings.seeds + 1):
            for name in settings.stories:
                for way in WAYS:
                    path = (
                        settings.out / f"{steps}-{name}-{seed}-{way.replace(' ', '-').replace(',', '')}.json"
                    )
                    if not path.exists():
                        say(f"{way}, {steps} steps of {name}, seed {seed}")
                        judged = stories.setdefault(name, Judged(name))
                        write_json(path, measure(judged, way, steps, seed, models.store, settings))
                    key = {"story": name, "seed": seed, "way": way, "steps": steps}
                    rows.append({**key, **read_json(path)})
            write_results(rows, settings)
    wrote(settings.results / "intrinsic_drrn.md", f"{len(rows)} policies")


def write_results(rows: Sequence[dict[str, Any]], settings: Settings) -> None:
    """``intrinsic_drrn.json`` and ``intrinsic_drrn.md``."""
    cells: list[dict[str, Any]] = []
    for steps in settings.steps:
        for name in settings.stories:
            scores = {
                way: [r["score"] for r in rows if (r["steps"], r["story"], r["way"]) == (steps, name, way)]
                for way in WAYS
            }
            for way, own in scores.items():
                found: dict[str, Any] = {"steps": steps, "story": name, "way": way, "seeds": len(own)}
                if len(own) > 1:
                    found["score"] = estimate(own).to_json()
                    if way != NO_JUDGE:
                        found["more"] = paired_difference(own, scores[NO_JUDGE]).to_json()
                    cells.append(found)
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "intrinsic_drrn.json", cells)
    lines = [
        "# DRRN with a judge's intrinsic reward", "", "`python experiments/intrinsic_drrn.py`", "",
        f"{settings.model}'s features; exact score of the trained policy in shares of the best attainable,",
        f"means over {settings.seeds} training seeds with 95 % intervals, and the difference to training",
        f"without a judge. Intrinsic weight {settings.weight:g}, asked every 64 rounds, divided by the",
        "number of visits unless beta is 0.",
        *write_table(
            ("steps", "story", "judge", "score", "minus no judge"),
            [
                (str(row["steps"]), row["story"], row["way"], cell(row["score"], 3),
                 cell(row["more"], 3) if "more" in row else "")
                for row in cells
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "intrinsic_drrn.md", lines)


if __name__ == "__main__":
    run(tyro.cli(Settings))
