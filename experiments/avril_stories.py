"""AVRIL on the four stories: does the reward that explains an agent's play rank options like the story's?

    python experiments/avril_stories.py --out runs/avril_stories

Demonstrators: the language model; DRRN, trained online on the score; and agents that are Boltzmann-rational
for one objective, which matches the method's model of a demonstrator exactly. AVRIL sees their actions and no
rewards. Its posterior is compared with the story's exact rewards, over all options of the decisions
encountered. Each seed plays and trains anew. An interrupted run continues; results are written as they
arrive.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from avril_lib.demonstrators import DEMONSTRATORS, OBJECTIVES, Story
from avril_lib.tables import correlation, write_results
from console import say, wrote

from pluralign.core import Trajectory
from pluralign.evaluate.pictures.rewards import RewardPanel, draw_rewards
from pluralign.evaluate.rewards.rank_agreement import rank_agreement
from pluralign.evaluate.rewards.ranks import RewardRows, compare_rewards, exact_rewards, reward_rows, visited
from pluralign.folders.card import load_card
from pluralign.games.choicescript.load import list_stories
from pluralign.learn.options.avril import AVRILConfig, fit_avril
from pluralign.options.open import DEFAULT_MODEL, Models

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        features: Folder of the language model's features, shared with `stories.py`.
        episodes: Number of episodes per demonstrator.
        rationality: Temperature of the rational agents, as a share of the range of attainable returns.
        seeds: Random seeds of play, training and resampling, one run each.
        stories: Names of the stories.
        kl_weights: Weights of the prior; 1 is the papers'.
        config: Other settings of AVRIL.
        model: Language model of the features, and a demonstrator.
        results: Folder of the result files.
    """

    out: Path = Path("runs/avril_stories")
    features: Path = Path("runs/stories/features")
    episodes: int = 1000
    rationality: float = 0.02
    seeds: tuple[int, ...] = (1, 2, 3)
    stories: tuple[str, ...] = tuple(list_stories())
    kl_weights: tuple[float, ...] = (1.0, 0.1)
    config: AVRILConfig = field(default_factory=AVRILConfig)
    model: str = DEFAULT_MODEL
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Run all seeds, stories, demonstrators and prior weights; the tables are written after each."""
    models = Models(settings.model, settings.features)
    runs: list[dict[str, Any]] = []
    panels: list[list[RewardPanel]] = []
    played = {"episodes": settings.episodes, "rationality": settings.rationality}
    for seed in settings.seeds:
        for name in settings.stories:
            folder = settings.out / f"{name}-{seed}"
            story = Story(name, folder, models, settings.episodes, settings.rationality, seed)
            row: list[RewardPanel] = []
            for demonstrator in DEMONSTRATORS:
                trajectories = story.trajectories(demonstrator)
                for kl_weight in settings.kl_weights:
                    say(f"seed {seed}, {name}, {demonstrator}, prior x {kl_weight:g}")
                    config = replace(settings.config, kl_weight=kl_weight)
                    figures, rows = measure(story, demonstrator, trajectories, config)
                    runs.append(figures)
                    write_results(runs, played, asdict(settings.config), settings.results)
                    if kl_weight == settings.kl_weights[0]:
                        row.append(panel(figures, rows))
            panels.append(row)
        # The picture is of the first seed.
        if seed == settings.seeds[0]:
            draw_rewards(panels, settings.results / "avril_stories.png")
    wrote(settings.results / "avril_stories.md", f"{len(runs)} posteriors")


def measure(
    story: Story, demonstrator: str, trajectories: list[Trajectory], config: AVRILConfig
) -> tuple[dict[str, Any], RewardRows]:
    """Train AVRIL on a demonstrator, and compare its rewards with the story's."""
    folder = story.folder / f"{demonstrator.replace(' ', '-')}-kl-{config.kl_weight:g}"
    posterior = fit_avril(trajectories, store=story.models.store, out=folder, config=config, seed=story.seed)
    truth = exact_rewards(story.graph, story.objectives, visited(trajectories))
    rows = reward_rows(posterior, trajectories, truth)
    rivalry = rank_agreement(rows.truth["score"], rows.truth["harm_avoidance"], rows.owner)
    returns = [trajectory.returns() for trajectory in trajectories]
    card = load_card(folder)
    figures = {
        "seed": story.seed,
        "story": story.name,
        "demonstrator": demonstrator,
        "kl_weight": config.kl_weight,
        "mean_returns": {name: float(np.mean([r[name] for r in returns])) for name in OBJECTIVES},
        "steps": card.data["steps"],
        "taken": int((rows.visits > 0).sum()),
        "largest_mean": float(np.abs(rows.mean).max()),
        "sigmas": np.quantile(rows.sigma, [0.0, 0.5, 1.0]).tolist(),
        "loss": card.figures["curve"][-1]["loss"],
        "score_against_harm": asdict(rivalry),
        **asdict(compare_rewards(rows, seed=story.seed)),
    }
    return figures, rows


def panel(figures: dict[str, Any], rows: RewardRows) -> RewardPanel:
    """Plot data of the posterior against the demonstrator's objective; for the language model, the score."""
    objective = "harm_avoidance" if figures["demonstrator"].endswith("harm avoidance") else "score"
    return RewardPanel(
        title=f"{figures['story'].replace('_', ' ')}: {figures['demonstrator']}",
        note=f"rho {correlation(figures['mean'][objective]['spearman']).value:.2f}",
        truth=rows.truth[objective],
        mean=rows.mean,
        sigma=rows.sigma,
        taken=rows.visits > 0,
        label=f"true {objective.replace('_', ' ')} of the step",
    )


if __name__ == "__main__":
    run(tyro.cli(Settings, description=__doc__))
