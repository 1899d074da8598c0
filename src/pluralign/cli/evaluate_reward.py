"""``pluralign evaluate reward``: a reward model's accuracy on preference pairs."""

from __future__ import annotations

from typing import Literal

from pluralign.cli.common import Figures, say
from pluralign.cli.texts import say_read_pairs
from pluralign.lm.dtypes import DTypeName


def evaluate_reward(
    model: str,
    data: str,
    split: Literal["train", "validation", "test", "all", "unseen"] = "unseen",
    dtype: DTypeName = "float32",
    base: str | None = None,
) -> Figures:
    """Measure how often a reward model gives the chosen completion the higher reward, with a 95 % interval.

    Example: pluralign evaluate reward --model runs/harmless --data hh/harmless.jsonl.gz

    Args:
        model: Folder of a reward model or an ensemble, or another reward as `pluralign score` takes it.
        data: Preference pairs: pairs.jsonl, or a file, folder or hub id with TRL's columns.
        split: Split of the pairs; "unseen" is the test split of the data that the model, or members of an
            ensemble, were trained on, and all pairs of other data.
        dtype: Precision of the reward model; auto is bfloat16 if the hardware supports it well.
        base: Base model of the folder, if it was moved.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.accuracy import evaluate_reward as evaluate
    from pluralign.lm.completion_trees import describe_cuts

    found = evaluate(model, data, split, dtype=dtype, base=base)
    say_read_pairs(data, found.pairs)
    own = found.accuracy
    where = "all pairs" if found.part == "all" else f"the {found.part} split"
    ties = f", {own.ties} with equal rewards" if own.ties else ""
    ties += f", {own.unlabelled} ties left out" if own.unlabelled else ""
    cuts = describe_cuts(found.reward.counts)
    say(
        f"{found.reward.name} ({found.method}) on {where} of {data}: accuracy {100 * own.accuracy:.1f} % "
        f"({100 * own.low:.1f} to {100 * own.high:.1f}), {own.pairs} pairs{ties}, {own.seconds:.1f} s"
        + (f"; {cuts}" if cuts else "")
    )
    return found.to_json()
