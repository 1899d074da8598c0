"""``pluralign evaluate mismatch``: figures that trainings watch, compared with what their policies get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, refuse, say, say_table, wrote
from pluralign.core import InputError

_EPISODES = 300


def evaluate_mismatch(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    out: Path,
    story: str = "",
    objective: str = "",
    outcomes: Path | None = None,
    episodes: int = _EPISODES,
    seed: int = 0,
    features: Path | None = None,
) -> Figures:
    """Measure whether losses and accuracies of trainings go with what their policies get.

    Over runs of one method with other settings, data or seeds, each figure of their cards is compared with
    the runs' outcomes by Spearman's rank correlation. Outcomes are returns on a story, which are exact for
    built-in ones, or numbers from a file. A figure near 0 is no reason to prefer a run.

    Example: pluralign evaluate mismatch runs/cpl-* --story salt_ledger --objective score --out runs/mismatch

    Args:
        runs: Folders of trained policies; the outcomes' file names them instead.
        out: Folder for mismatch.json and mismatch.svg.
        story: Story on which the policies are evaluated: built-in, or the path of any game.
        objective: Objective whose return is the outcome; by default that of the policies' cards.
        outcomes: JSON lines with run (a folder) and outcome (a number, higher is better), instead of a story.
        episodes: Number of episodes on stories that are not built in.
        seed: Random seed of these episodes.
        features: Folder that keeps a language model's features between runs.
    """
    # Help needs no model.
    from pluralign.evaluate.mismatch import find_mismatch, read_outcomes, story_returns
    from pluralign.options.open import Models

    if (outcomes is None) == (not story) or (outcomes is None) == (not runs):
        raise InputError("give either runs with --story, or --outcomes", field="outcomes")
    if outcomes is not None:
        given = {"objective": objective or None, "features": features}
        given |= {"episodes": None if episodes == _EPISODES else episodes, "seed": seed or None}
        refuse("requires --story", **given)
        found = find_mismatch(read_outcomes(outcomes))
    else:
        models = Models(features=features)
        found = find_mismatch(
            story_returns(runs, story, objective, models=models, episodes=episodes, seed=seed)
        )
    say(f"{len(found.runs)} runs; rank correlation of each figure with the outcome, and its 95 % interval")
    say_table(
        ["correlation", "low", "high"],
        {n: [f"{c.value:.2f}", f"{c.low:.2f}", f"{c.high:.2f}"] for n, c in found.correlations.items()},
    )
    if found.constant:
        say(f"the same in all runs: {', '.join(found.constant)}")
    figures = found.save(out, {"story": story, "objective": objective, "outcomes": str(outcomes or "")})
    wrote(out / "mismatch.json", "mismatch.svg is next to it")
    return figures
