"""``pluralign relevance``: prompts x objectives -> what is at stake in each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.cli.common import Figures, say, say_table, wrote
from pluralign.core import SteeringWeights
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.steer.request_weights import Prompt

_BATCH = 16


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
    from pluralign.core.digests import file_digest, source_digest
    from pluralign.core.jsonl import read_rows
    from pluralign.core.resumable import run_batches
    from pluralign.data.load import load_prompts
    from pluralign.data.objectives import load_objectives
    from pluralign.steer.relevance import open_relevance, weigh

    objectives = load_objectives(principles)
    given = None if weights is None else SteeringWeights.parse(weights)
    if given is not None:
        given.require_known([objective.name for objective in objectives])
    found = [prompt.given for prompt in load_prompts(prompts, limit=limit)]
    relevance = open_relevance(by, objectives, dtype=dtype)

    def estimated(batch: Sequence[Prompt]) -> list[dict[str, Any]]:
        rows = zip(batch, relevance.of_each(batch), strict=True)
        return [
            {
                "prompt": prompt, "factors": factors,
                **({} if given is None else {"weights": dict(weigh(given, factors))}),
            }
            for prompt, factors in rows
        ]  # fmt: skip

    made_of = {
        "prompts": source_digest(prompts), "by": by, "principles": file_digest(principles),
        "weights": weights, "dtype": dtype, "limit": limit,
    }  # fmt: skip
    run_batches(out, made_of, found, estimated, batch=_BATCH, unit="prompt")
    factors = [read.row["factors"] for read in read_rows(out)]
    names = [objective.name for objective in objectives]
    lowered = {name: sum(row[name] < 1 for row in factors) / len(factors) for name in names}
    means = {name: sum(row[name] for row in factors) / len(factors) for name in names}
    say_table(
        ["lowered", "mean factor"],
        {name: [f"{100 * lowered[name]:.0f} %", f"{means[name]:.2f}"] for name in names},
    )
    if not any(lowered.values()):
        say("every objective keeps its weight in every prompt: at stake, or the estimator is unsure")
    wrote(out, f"{len(factors)} prompts")
    return {"prompts": len(factors), "lowered": lowered, "mean_factors": means}
