"""``pluralign evaluate reward``: a reward model's accuracy on preference pairs."""

from __future__ import annotations

from typing import Literal

from pluralign.cli.common import Figures, say
from pluralign.cli.texts import read_texts
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
        split: Split of the pairs; "unseen" is the test split of the model's training data, and all pairs of
            other data.
        dtype: Precision of the reward model; auto is bfloat16 if the hardware supports it well.
        base: Base model of the folder, if it was moved.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.accuracy import of_part, reward_accuracy, unseen_part
    from pluralign.folders.card import Card
    from pluralign.lm.completion_trees import describe_cuts
    from pluralign.rewards.open import load_reward
    from pluralign.rewards.reward import template_of
    from pluralign.rewards.reward_model import RewardModel

    loaded = load_reward(model, dtype=dtype, model=base)
    card = loaded.card if isinstance(loaded, RewardModel) else Card("reward")
    pairs = read_texts(data, "", template_of(loaded), card.seed)
    part = unseen_part(card, data) if split == "unseen" else split
    chosen = of_part(pairs, part, data)
    found = reward_accuracy(loaded, chosen)
    where = "all pairs" if part == "all" else f"the {part} split"
    ties = f", {found.ties} with equal rewards" if found.ties else ""
    ties += f", {found.unlabelled} ties left out" if found.unlabelled else ""
    cuts = describe_cuts(loaded.counts)
    say(
        f"{loaded.name} ({card.method}) on {where} of {data}: accuracy {100 * found.accuracy:.1f} % "
        f"({100 * found.low:.1f} to {100 * found.high:.1f}), {found.pairs} pairs{ties}, {found.seconds:.1f} s"
        + (f"; {cuts}" if cuts else "")
    )
    return {
        "accuracy": found.accuracy, "low": found.low, "high": found.high, "pairs": found.pairs,
        "seconds": found.seconds, "ties": found.ties, "unlabelled": found.unlabelled, "split": part,
        **loaded.counts,
    }  # fmt: skip
