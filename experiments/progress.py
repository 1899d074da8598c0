"""Whether SmolLM2-135M sees progress in the four stories: by the passages' order, and by their worth.

    python experiments/progress.py

Random play of each story; six passages of an episode are compared in pairs, in both orders. With examples,
the passages of a further episode are shown with the share of the return that was gained before them.
Judged progress is compared by rank with the passages' order and with the return to be expected of the play.
An interrupted run continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from afd_lib.report import cell, write_table
from console import say, write_page

import pluralign as pl
from pluralign.annotate.open import open_critic
from pluralign.core.files import write_json
from pluralign.evaluate.progress import evaluate_progress
from pluralign.games.choicescript.load import list_stories
from pluralign.games.state_graph import explore


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        model: Language model that judges.
        episodes: Number of judged episodes of each story.
        examples: Number of episodes that are shown as examples.
        objectives: Objectives of the stories.
        seed: Random seed of the play.
        results: Folder of the result files.
    """

    out: Path = Path("runs/progress")
    model: str = "smollm2-135m"
    episodes: int = 8
    examples: int = 1
    objectives: tuple[str, ...] = ("score",)
    seed: int = 0
    results: Path = Path(__file__).parent / "results"


def run(settings: Settings) -> dict[str, Any]:
    """Judge all stories, and return the figures by story, objective and number of examples."""
    critic = open_critic(settings.model, dtype="auto")
    found: dict[str, Any] = {}
    for name in list_stories():
        story = pl.open_story(name)
        objectives, graph = story.info.select(settings.objectives), explore(story.make_game())
        played = list(
            pl.roll_out(
                story.make_game, pl.UniformPolicy(), episodes=settings.episodes + settings.examples,
                seed=settings.seed, objectives=objectives,
            )
        )  # fmt: skip
        for objective in objectives:
            for examples in dict.fromkeys((0, settings.examples)):
                say(f"{name}, {objective.name}, {examples} examples")
                # The same episodes are judged with and without examples.
                own = played if examples else played[settings.examples :]
                report = evaluate_progress(
                    own, critic, objective, settings.out / f"{name}-{objective.name}-{examples}",
                    graph=graph, policy=pl.UniformPolicy(), examples=examples, seed=settings.seed,
                )  # fmt: skip
                found[f"{name}, {objective.name}, {examples}"] = report.to_json()
    return found


def main(settings: Settings) -> None:
    """Run the experiment, and write progress.json and progress.md."""
    found = run(settings)
    write_json(settings.results / "progress.json", {"model": settings.model, "rows": found})
    lines = [
        "# Judged progress", "",
        f"{settings.model}; {settings.episodes} random episodes a story, six passages each, in pairs and in",
        "both orders. Spearman's correlations within an episode: means and 95 % intervals over episodes.",
        *write_table(
            ("story, objective, examples", "with the order", "with the expected return",
             "of the order with that return", "same place in both orders"),
            [
                (name, *(cell(row[key]) for key in ("order", "worth", "order_and_worth")),
                 f"{row['counts']['same_place']} of {row['counts']['pairs']}")
                for name, row in found.items()
            ],
        ),
    ]  # fmt: skip
    write_page(settings.results / "progress.md", lines)
    say(f"wrote {settings.results / 'progress.md'}")


if __name__ == "__main__":
    main(tyro.cli(Settings))
