"""``pluralign learn ensemble``: several rewards combined."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pluralign.cli.common import Figures, wrote
from pluralign.cli.texts import read_demonstrations
from pluralign.core.digests import source_digest
from pluralign.lm.dtypes import DTypeName


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
        limit: Largest number of completions on which scales are measured; the first ones are used.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    # Help needs no model.
    from pluralign.learn.texts.ensemble import fit_ensemble, open_members
    from pluralign.rewards.reward import template_of

    opened = open_members(members, dtype)
    rows = read_demonstrations(data, "", template_of(next(iter(opened.values()))))
    found = fit_ensemble(rows, opened, out=out, combine=combine, limit=limit, provenance=source_digest(data))
    used = min(limit, len(rows))
    wrote(out, f"{combine} of {len(opened)} rewards; scales from {used} completions")
    scales = {spec: [scale.mean, scale.deviation] for spec, scale in zip(opened, found.scales, strict=True)}
    return {"scales": scales, "completions": used}
