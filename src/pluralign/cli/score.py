"""``pluralign score``: reward model x completions -> rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.core import Decision, InputError
from pluralign.core.digests import source_digest
from pluralign.core.resumable import run_batches
from pluralign.data.reading import read_row
from pluralign.data.rows import read_named
from pluralign.data.source import open_table
from pluralign.lm.backbone import DTypeName
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.spans import by_sentence

_BATCH = 128


def score_texts(
    model: str,
    data: str,
    out: Path,
    spans: Literal["none", "sentences", "tokens"] = "none",
    dtype: DTypeName = "float32",
    base: str | None = None,
    control_tokens: bool = False,
    json: JsonFile = None,
) -> None:
    """Score every completion: each row of the data is written with "rewards" added.

    A row has "prompt" with "completion" or a list of "completions" (texts), or "chosen" and "rejected" (TRL's
    formats), or "messages" that end with the assistant's. An empty completion is the end-of-text token alone.
    Consecutive rows with the same prompt share its computation. An interrupted run continues.

    Example: pluralign score --model runs/harmless --data answers.jsonl --out runs/scored.jsonl

    Args:
        model: Folder of a reward model or an ensemble; closed-form:DIR, the likelihood ratio between a
            trained policy and its base model; or classifier:NAME, any sequence classifier.
        data: Data to score: a file, folder or hub id.
        out: JSON-lines file to write.
        spans: Whether to add rewards of every sentence, or of every token.
        dtype: Precision of the reward model; auto is bfloat16 if the hardware supports it well.
        base: Base model of the folder, if it was moved.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text, except for models trained with this option.
        json: File for the figures.
    """
    loaded = load_reward(model, dtype=dtype, model=base)
    if spans != "none" and not isinstance(loaded, RewardModel):
        raise InputError(f"{loaded.name!r} only has rewards of whole completions", field="spans")
    table = open_table(data)
    template = template_of(loaded)
    template = template.trusting() if control_tokens else template
    rows = [row for _, _, row in table.rows()]
    read = [
        read_row(table, number, lambda row=row: read_named(row, template))
        for number, row in enumerate(rows, start=1)
    ]
    run = {
        "model": {"name": model, **source_digest(str(Path(model.rpartition(":")[2]) / "card.json"))},
        "data": source_digest(data),
        "spans": spans,
        **({"control_tokens": True} if control_tokens else {}),
        # Unfinished files of 0.1.0 record whether --fast was set.
        "fast": {"float32": False, "auto": True}.get(dtype, dtype),
    }
    items = list(zip(range(1, len(rows) + 1), rows, read, strict=True))
    run_batches(out, run, items, lambda some: _scored(loaded, some, spans, data), batch=_BATCH, unit="row")
    empty = sum(not text.strip() for named in read for _, text in named.values())
    counts = {"rows": len(rows), "empty_completions": empty, **loaded.counts}
    wrote(out, ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items()))
    give_figures(counts, json)


Named = dict[str, tuple[str, str]]
"""Completions of a row by name: (prompt, completion)."""


def _scored(
    model: Reward, items: Sequence[tuple[int, Mapping[str, Any], Named]], spans: str, data: str
) -> list[dict[str, Any]]:
    numbers, rows, read = zip(*items, strict=True)
    # Rows with the same prompt, such as its samples, share its computation.
    by_prompt: dict[str, list[tuple[int, str]]] = {}
    for i, named in enumerate(read):
        for name, (prompt, _) in named.items():
            by_prompt.setdefault(prompt, []).append((i, name))
    decisions = [
        Decision(prompt, tuple(read[i][name][1] for i, name in own)) for prompt, own in by_prompt.items()
    ]
    scored = (
        model.score_tokens(decisions)
        if isinstance(model, RewardModel) and spans != "none"
        else [(rewards, None) for rewards in model.score_decisions(decisions)]
    )
    found: list[dict[str, dict[str, Any]]] = [{} for _ in rows]
    for own, decision, (rewards, tokens) in zip(by_prompt.values(), decisions, scored, strict=True):
        for k, (i, name) in enumerate(own):
            mean, sigma = float(rewards.mean[k]), float(rewards.sigma[k])
            if not math.isfinite(mean):
                raise InputError(f"the model's reward is {mean}", path=data, row=numbers[i], field=name)
            found[i][name] = {"reward": mean, "sigma": sigma}
            if tokens is not None:
                parts = by_sentence(decision.options[k], tokens[k]) if spans == "sentences" else tokens[k]
                found[i][name][spans] = [asdict(part) for part in parts]
    return [{**row, "rewards": rewards} for row, rewards in zip(rows, found, strict=True)]
