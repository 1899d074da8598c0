"""Scoring of the completions in rows of data; rewards are added to the rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest, source_digest
from pluralign.core.jsonl import json_text
from pluralign.core.resumable import run_batches
from pluralign.data.reading import read_row
from pluralign.data.rows import read_named
from pluralign.data.source import Table, open_table
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.endpoint import EndpointReward
from pluralign.rewards.identity import reward_card, reward_identity
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.spans import by_sentence

_BATCH = 128
Spans = Literal["none", "sentences", "tokens"]


def score_rows(
    model: str,
    data: str,
    out: Path,
    *,
    spans: Spans = "none",
    dtype: DTypeName = "float32",
    base: str | None = None,
    control_tokens: bool = False,
) -> dict[str, int]:
    """Write every row of the data with "rewards" added; an interrupted run continues.

    Args:
        model: Reward; an argument of `load_reward`.
        data: Data to score: a file, folder or hub id.
        out: JSON-lines file to write.
        spans: Whether to add rewards of every sentence, or of every token.
        dtype: Precision of the reward model.
        base: Base model of a trained folder, instead of the one on its card.
        control_tokens: Whether names of control tokens in texts are read as such tokens.

    Returns:
        Numbers of rows, of empty completions, and of the model's truncations.

    Raises:
        InputError: The model has no rewards of spans, a row has no completion, or a reward is not finite.
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
    _require_json(table, rows)
    source = source_digest(data)
    if "file_digest" not in source:
        # Folders and data sets of the hub keep their names when their rows change.
        source["rows"] = digest(json.dumps(named, sort_keys=True).encode() for named in read)
    run = {
        "model": {"name": model, **source_digest(str(reward_card(model))), **_parts(model, loaded)},
        "data": source,
        "spans": spans,
        **({"control_tokens": True} if control_tokens else {}),
        # Unfinished files of 0.1.0 record whether --fast was set.
        "fast": {"float32": False, "auto": True}.get(dtype, dtype),
    }
    items = list(zip(range(1, len(rows) + 1), rows, read, strict=True))
    run_batches(out, run, items, lambda some: _scored(loaded, some, spans, data), batch=_BATCH, unit="row")
    empty = sum(not text.strip() for named in read for _, text in named.values())
    return {"rows": len(rows), "empty_completions": empty, **loaded.counts}


def _require_json(table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse columns that the output cannot have, before anything is scored."""
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            try:
                json_text(value)
            except InputError as error:
                raise table.error(error.message, row=number, field=name) from error


def _parts(model: str, loaded: Reward) -> Mapping[str, Any]:
    """What a reward depends on besides its own card: what an endpoint serves, the cards of an ensemble's
    members, the files of a classifier."""
    if isinstance(loaded, EndpointReward):
        return loaded.identity
    own = 2 if reward_card(model).is_file() else 1
    parts = reward_identity(model)[own:]
    return {"parts": parts} if parts else {}


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
