"""``pluralign score``: reward model x completions -> rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pluralign.cli.common import Figures, wrote
from pluralign.lm.dtypes import DTypeName


def score_texts(
    model: str,
    data: str,
    out: Path,
    spans: Literal["none", "sentences", "tokens"] = "none",
    dtype: DTypeName = "float32",
    base: str | None = None,
    control_tokens: bool = False,
) -> Figures:
    """Score every completion: each row of the data is written with "rewards" added.

    A row has "prompt" with "completion" or a list of "completions" (texts), or "chosen" and "rejected" (TRL's
    formats), or "messages" that end with the assistant's. An empty completion is the end of text alone, or
    after messages the end of the turn. Consecutive rows with the same prompt share its computation. An
    interrupted run continues.

    Example: pluralign score --model runs/harmless --data answers.jsonl --out runs/scored.jsonl

    Args:
        model: Folder of a reward model or an ensemble; closed-form:DIR, the likelihood ratio between a
            trained policy and its base model; classifier:NAME, any sequence classifier; endpoint:URL, one
            that vLLM serves (docs/endpoints.md); or function:FILE.py:NAME, a function of yours
            (docs/extending.md).
        data: Data to score: a file, folder or hub id.
        out: JSON-lines file to write.
        spans: Whether to add rewards of every sentence, or of every token.
        dtype: Precision of the reward model; auto is bfloat16 if the hardware supports it well.
        base: Base model of the folder, if it was moved.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text, except for models trained with this option.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.score_rows import score_rows

    counts = score_rows(model, data, out, spans=spans, dtype=dtype, base=base, control_tokens=control_tokens)
    wrote(out, ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items()))
    return counts
