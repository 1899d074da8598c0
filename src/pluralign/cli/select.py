"""``pluralign select``: pairs -> those that are worth a label or a place in training."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, say, wrote
from pluralign.options.open import DEFAULT_MODEL
from pluralign.pair.criteria import Criterion


def select(
    data: str,
    budget: int,
    out: Path,
    by: tuple[Criterion, ...] = ("difficulty", "diversity"),
    dependability: str | None = None,
    objective: str = "preference",
    model: str = DEFAULT_MODEL,
    template: str | None = None,
    traits: Path | None = None,
    seed: int = 0,
) -> Figures:
    """Select pairs by difficulty, diversity and dependability, for people to label or for training.

    Difficulty and diversity do not read the labels. Compare with a random selection: it is hard to beat
    (docs/papers.md). With --traits, an interrupted run continues.

    Example: pluralign select --data pairs.jsonl --budget 200 --out chosen.jsonl

    Args:
        data: Pairs of completions: a file, folder or hub id, as for the learners.
        budget: Largest number of pairs.
        out: Output file of pairs.
        by: Criteria, whose values are multiplied: difficulty (the model finds the completions unlikely
            although it is sure of itself), diversity (distance to the nearest selected pair), dependability
            (probability that the label is right).
        dependability: Reward that gives the probability of each label; anything that `pluralign score`
            takes. By default the share of raters who agree.
        objective: Name of the pairs' objective.
        model: Frozen language model that reads the pairs: smollm2-135m, a hub id or a local folder.
        template: Template of prompts that are messages, dialogue or chat; by default the data's.
        traits: Folder in which what the model reads is kept.
        seed: Random seed of the choice among equals, and of the splits of data without any.
    """
    # Help needs no model.
    from pluralign.pair.text_files import select_file

    found = select_file(
        data, budget, out, by=by, dependability=dependability, objective=objective, model=model,
        template=template, traits=traits, seed=seed,
    )  # fmt: skip
    given = found.counts["pairs"]
    if len(found) < min(budget, given):
        say("fewer than the budget: the other pairs repeat a selected one, or have value 0")
    wrote(out, f"{len(found)} of {given} pairs")
    return {**found.counts, "by": list(by)}
