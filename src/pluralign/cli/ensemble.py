"""``pluralign learn ensemble``: several rewards combined."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pluralign.cli.common import Figures, wrote
from pluralign.cli.texts import read_demonstrations
from pluralign.core import Decision, InputError
from pluralign.core.digests import source_digest
from pluralign.folders.card import Card, current_versions
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.ensemble import measure_scales, save_ensemble
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward import template_of


def learn_ensemble(
    members: tuple[str, ...],
    data: str,
    out: Path,
    combine: Literal["mean", "minimum", "lower-bound"] = "mean",
    limit: int = 1000,
    dtype: DTypeName = "float32",
) -> Figures:
    """Combine several rewards into one. Each is first standardised to mean 0 and standard deviation 1.

    Rewards of different models have different units. If prompts have several completions, the standard
    deviation is that between completions of one prompt. lower-bound subtracts one standard deviation, which
    combines the members' disagreement and their own uncertainty (of bt-variance and AVA).

    Example: pluralign learn ensemble --members runs/a runs/b --data samples.jsonl --out runs/both

    Args:
        members: Two or more rewards: folders of reward models, closed-form:DIR or classifier:NAME.
        data: Completions like those that the ensemble will score, in the format of generate.
        out: Output folder; the members stay where they are.
        combine: Combination of the members: mean, minimum, or lower-bound.
        limit: Number of completions, from the start of the data, on which scales are measured.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    if len(set(members)) < 2:
        raise InputError(
            f"expected at least two different members, found {len(set(members))}", field="members"
        )
    opened = {spec: load_reward(spec, dtype=dtype) for spec in members}
    scorers = list(opened.values())
    rows = read_demonstrations(data, "", template_of(scorers[0]))[:limit]
    by_prompt: dict[str, list[str]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt, []).append(row.completion)
    decisions = [Decision(prompt, tuple(texts)) for prompt, texts in by_prompt.items()]
    scales = measure_scales(scorers, decisions)
    card = Card(
        "ensemble", config={"combine": combine}, data={**source_digest(data), "completions": len(rows)},
        versions=current_versions(),
    )  # fmt: skip
    save_ensemble(out, opened, scales, combine, card)
    told = {spec: [scale.mean, scale.deviation] for spec, scale in zip(members, scales, strict=True)}
    wrote(out, f"{combine} of {len(members)} rewards; scales from {len(rows)} completions")
    return {"scales": told, "completions": len(rows)}
