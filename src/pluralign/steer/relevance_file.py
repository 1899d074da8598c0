"""A file of prompts to a file of what is at stake in each; an interrupted run continues."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pluralign.core import SteeringWeights
from pluralign.core.digests import digest, file_digest, source_digest
from pluralign.core.jsonl import read_rows
from pluralign.core.messages import Prompt
from pluralign.core.resumable import run_batches
from pluralign.data.columns import columns_of
from pluralign.data.load import load_prompts
from pluralign.data.objectives import load_objectives
from pluralign.folders.card import content_digest
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import reward_identity
from pluralign.steer.relevance import open_relevance, text_of, weigh

_BATCH = 16
"""Number of prompts that are read and written together."""


@dataclass(frozen=True)
class RelevanceSummary:
    """What is at stake in many prompts.

    Args:
        prompts: Number of prompts.
        lowered: Share of the prompts in which each objective's factor is below 1.
        mean_factors: Mean factor of each objective.
    """

    prompts: int
    lowered: Mapping[str, float]
    mean_factors: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def write_relevance(
    prompts: str | Path, principles: str | Path, by: str, out: str | Path, *, weights: str | None = None,
    limit: int | None = None, dtype: DTypeName = "float32", shown: bool = True,
) -> RelevanceSummary:  # fmt: skip
    """Estimate which objectives are at stake in the prompts of a file.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     asked, known, out = (Path(folder) / name for name in ("p.txt", "objectives.jsonl", "out.jsonl"))
    ...     _ = asked.write_text("How far is it?")
    ...     _ = known.write_text('{"name": "kind", "description": "The answer is kind."}')
    ...     write_relevance(asked, known, "judge:tiny-random", out, shown=False).prompts
    1

    Args:
        prompts: File, folder or hub id; see `load_prompts`.
        principles: File of objectives; see `load_objectives`.
        by: Estimator; see `open_relevance`.
        out: JSON-lines file to write: ``prompt``, ``factors`` and, with weights, ``weights``.
        weights: Steering weights as ``NAME=NUMBER,NAME=NUMBER``, to be multiplied by the factors.
        limit: Number of prompts to read at most.
        dtype: Precision of the model.
        shown: Whether to show a progress bar on a terminal.

    Raises:
        InputError: A file cannot be read or written, there is no such estimator, or the weights name an
            unknown objective.
    """
    objectives = load_objectives(principles)
    names = [objective.name for objective in objectives]
    given = None if weights is None else SteeringWeights.parse(weights)
    if given is not None:
        given.require_known(names)
    found = [prompt.given for prompt in load_prompts(prompts, limit=limit)]
    relevance = open_relevance(by, objectives, dtype=dtype)

    def estimated(batch: Sequence[Prompt]) -> list[dict[str, Any]]:
        rows = zip(batch, relevance.of_each(batch), strict=True)
        return [
            {
                "prompt": prompt, **columns_of(prompt), "factors": factors,
                **({} if given is None else {"weights": dict(weigh(given, factors))}),
            }
            for prompt, factors in rows
        ]  # fmt: skip

    made_of = {
        "prompts": source_digest(prompts), "by": by, "principles": file_digest(principles),
        "weights": weights, "dtype": dtype, "limit": limit, "model": _identity(by),
        "texts": digest([json.dumps([text_of(prompt) for prompt in found]).encode()]),
    }  # fmt: skip
    run_batches(Path(out), made_of, found, estimated, batch=_BATCH, unit="prompt", shown=shown)
    factors: list[dict[str, float]] = [read.row["factors"] for read in read_rows(out)]
    return RelevanceSummary(
        len(factors),
        {name: sum(row[name] < 1 for row in factors) / len(factors) for name in names},
        {name: sum(row[name] for row in factors) / len(factors) for name in names},
    )


def _identity(by: str) -> Any:
    """What changes with the model of an estimator."""
    kind, _, model = by.partition(":")
    return reward_identity(model) if kind == "reward" else content_digest(Path(model))
