"""Completions with their rewards: what ``score`` writes, or any rows with a column "reward"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.messages import Render, dialogue
from pluralign.core.splits import SHARES, SPLITS, Split, check_shares, split_of
from pluralign.data.demonstrations import read_demonstration
from pluralign.data.preferences import read_each
from pluralign.data.rows import FieldError


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion of a prompt and what it was worth.

    Args:
        prompt: as the model reads it; ``prompt + completion`` is the whole text.
        completion: what was written; an empty one is the end of text alone.
        reward: of the whole.
        objective: what the reward is about.
        split: train, validation or test; no prompt appears in two splits.
    """

    prompt: str
    completion: str
    reward: float
    objective: str = ""
    split: Split = "train"


@dataclass(frozen=True)
class ScoredRead:
    """Completions with rewards, and what became of everything that went in.

    Args:
        rows: in the source's order.
        counts: ``rows``; ``unusable`` (preference rows without a prompt that both share, left out);
            ``completions``, and those of each split.
    """

    rows: tuple[ScoredCompletion, ...]
    counts: Mapping[str, int]


def load_scored_completions(
    source: str | Path,
    objective: str = "",
    split: Split | None = None,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    render: Render = dialogue,
) -> ScoredRead:
    """Read completions of prompts with a reward each: ``prompt`` with ``completion``, or ``messages`` (see
    `load_demonstrations`), with ``rewards`` as ``score`` writes them or a number ``reward``.

    Args:
        source: a file (.jsonl, .json, .csv, .parquet; .gz too), a folder, or a hub id.
        objective: what the rewards are about.
        split: of a folder or a hub id, read this split alone; a file is taken to be that split. None reads
            all, and where the source has one split only, assigns each prompt to a split by its hash.
        seed: of the splits.
        shares: of train, validation and test.
        render: makes text of messages.

    Raises:
        InputError: no such source, a broken line, a missing column, a field of another type (with file, row
            and field), or no usable row.
    """
    check_shares(shares)
    counts: Counter[str] = Counter(rows=0, unusable=0)
    rows: list[ScoredCompletion] = []
    for row in read_each(source, split, lambda given: _read(given, render)):
        counts["rows"] += 1
        if row.found is None:
            counts["unusable"] += 1
            continue
        where = split_of(row.found[0], seed=seed, shares=shares) if row.unassigned else row.part
        rows.append(ScoredCompletion(*row.found, objective=objective, split=where))
    if not rows:
        raise InputError(f"holds no completion with a reward: {dict(counts)}", path=source)
    counts["completions"] = len(rows)
    for one in SPLITS:
        counts[f"completions_{one}"] = sum(row.split == one for row in rows)
    return ScoredRead(tuple(rows), dict(counts))


def _read(row: Mapping[str, Any], render: Render) -> tuple[str, str, float] | None:
    """Prompt, completion and reward; None for a preference row whose halves share no prompt."""
    read = read_demonstration(row, render)
    return None if read is None else (*read, _reward(row))


def _reward(row: Mapping[str, Any]) -> float:
    """The reward of the completion that `read_demonstration` takes from the row."""
    given, field = row.get("reward"), "reward"
    if given is None and isinstance(row.get("rewards"), Mapping):
        named: Mapping[str, Any] = row["rewards"]
        scored = next((named[key] for key in ("completion", "messages", "chosen") if named.get(key)), None)
        given, field = (scored.get("reward") if isinstance(scored, Mapping) else None), "rewards"
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise FieldError(field, f"expected a finite number (pluralign score adds one), found {given!r:.60}")
    return float(given)
