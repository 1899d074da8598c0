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
        split: Split of the pairs; "unseen" is the test split of the data that the model, or members of an
            ensemble, were trained on, and all pairs of other data.
        dtype: Precision of the reward model; auto is bfloat16 if the hardware supports it well.
        base: Base model of the folder, if it was moved.
    """
    # Help needs no model.
    from pluralign.data.load import load_pairs
    from pluralign.evaluate.rewards.accuracy import of_part, reward_accuracy, trained_seeds
    from pluralign.lm.completion_trees import describe_cuts
    from pluralign.rewards.identity import reward_provenance
    from pluralign.rewards.open import load_reward
    from pluralign.rewards.reward import template_of

    loaded = load_reward(model, dtype=dtype, model=base)
    trained, template = reward_provenance(model), template_of(loaded)
    seeds = trained_seeds(trained, data)
    first, *more = seeds or [int(trained.get("seed", 0))]
    pairs = read_texts(data, "", template, first)
    others = [load_pairs(data, template=template, seed=seed, two_prompts=True) for seed in more]
    part = split if split != "unseen" else "test" if seeds else "all"
    chosen = of_part(pairs, part, data, others)
    found = reward_accuracy(loaded, chosen)
    where = "all pairs" if part == "all" else f"the {part} split"
    ties = f", {found.ties} with equal rewards" if found.ties else ""
    ties += f", {found.unlabelled} ties left out" if found.unlabelled else ""
    cuts, method = describe_cuts(loaded.counts), trained.get("method", "reward")
    say(
        f"{loaded.name} ({method}) on {where} of {data}: accuracy {100 * found.accuracy:.1f} % "
        f"({100 * found.low:.1f} to {100 * found.high:.1f}), {found.pairs} pairs{ties}, {found.seconds:.1f} s"
        + (f"; {cuts}" if cuts else "")
    )
    return {
        "accuracy": found.accuracy, "low": found.low, "high": found.high, "pairs": found.pairs,
        "seconds": found.seconds, "ties": found.ties, "unlabelled": found.unlabelled, "split": part,
        **loaded.counts,
    }  # fmt: skip
