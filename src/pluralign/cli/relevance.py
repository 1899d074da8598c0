"""``pluralign relevance``: prompts x objectives -> what is at stake in each prompt."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, say, say_table, wrote
from pluralign.lm.dtypes import DTypeName


def estimate_relevance(
    prompts: str,
    principles: Path,
    by: str,
    out: Path,
    weights: str | None = None,
    limit: int | None = None,
    dtype: DTypeName = "float32",
) -> Figures:
    """Estimate which objectives are at stake in prompts, and show the factors that `serve --relevance` would
    use.

    A factor is 1 where an objective is at stake or the estimator is unsure, and falls to 0.1. An interrupted
    run continues. Relevance is not importance: that is what weights say.

    Example: pluralign relevance --prompts prompts.jsonl --principles objectives.jsonl --by
    reward:runs/relevance --weights helpful=0.7,harmless=0.3 --out runs/relevance.jsonl

    Args:
        prompts: Prompts: a file, folder or hub id with a column prompt or messages.
        principles: Objectives as JSON lines with name and description.
        by: Estimator: judge:MODEL (a local language model, asked two opposite questions) or reward:DIR (a
            discriminator of principles; docs/judges.md).
        out: JSON-lines file to write: prompt, factors and, with --weights, weights.
        weights: Steering weights as NAME=NUMBER,NAME=NUMBER, to be multiplied by the factors.
        limit: Number of prompts to read at most.
        dtype: Precision of the model.
    """
    from pluralign.steer.relevance_file import write_relevance

    found = write_relevance(prompts, principles, by, out, weights=weights, limit=limit, dtype=dtype)
    say_table(
        ["lowered", "mean factor"],
        {name: [f"{100 * share:.0f} %", f"{found.mean_factors[name]:.2f}"]
         for name, share in found.lowered.items()},
    )  # fmt: skip
    if not any(found.lowered.values()):
        say("every objective keeps its weight in every prompt: at stake, or the estimator is unsure")
    wrote(out, f"{found.prompts} prompts")
    return found.to_json()
