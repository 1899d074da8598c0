"""Completions that somebody offers as good, or that a model wrote: files in, rows out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.demonstration import Demonstration
from pluralign.core.messages import Render, dialogue
from pluralign.core.splits import SHARES, SPLITS, Split, check_shares, split_of
from pluralign.data.preferences import read_each
from pluralign.data.rows import Completions, FieldError, messages_of, read_completions


@dataclass(frozen=True)
class DemonstrationsRead:
    """Demonstrations, and what became of everything that went in.

    Args:
        rows: in the source's order.
        counts: ``rows``; ``empty`` (a completion without text, left out), ``unusable`` (preference rows
            without a prompt that both share, left out); ``demonstrations``, and those of each split.
    """

    rows: tuple[Demonstration, ...]
    counts: Mapping[str, int]


def load_demonstrations(
    source: str | Path,
    objective: str = "",
    split: Split | None = None,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    render: Render = dialogue,
) -> DemonstrationsRead:
    """Read completions of prompts: ``prompt`` with ``completion`` (texts or messages; what ``generate``
    writes, too), ``messages`` that end with the assistant's, or preference rows, whose chosen half is taken.

    Args:
        source: a file (.jsonl, .json, .csv, .parquet; .gz too), a folder, or a hub id.
        objective: what they are good for.
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
    counts: Counter[str] = Counter(rows=0, empty=0, unusable=0)
    rows: list[Demonstration] = []
    for row in read_each(source, split, lambda given: read_demonstration(given, render)):
        counts["rows"] += 1
        if row.found is None or not row.found[1].strip():
            counts["unusable" if row.found is None else "empty"] += 1
            continue
        where = split_of(row.found[0], seed=seed, shares=shares) if row.unassigned else row.part
        rows.append(Demonstration(*row.found, objective=objective, source=str(source), split=where))
    if not rows:
        raise InputError(f"holds no usable completion: {dict(counts)}", path=source)
    counts["demonstrations"] = len(rows)
    for one in SPLITS:
        counts[f"demonstrations_{one}"] = sum(row.split == one for row in rows)
    return DemonstrationsRead(tuple(rows), dict(counts))


def read_demonstration(row: Mapping[str, Any], render: Render = dialogue) -> tuple[str, str] | None:
    """Prompt and completion of one row; None for a preference row whose halves share no prompt.

    Raises:
        FieldError: a column is missing or of another type.
    """
    if row.get("chosen") is not None and row.get("completion") is None:
        found = read_completions(row, render)
        return (found.prompt, found.chosen) if isinstance(found, Completions) else None
    if row.get("messages") is not None and row.get("prompt") is None:
        messages = messages_of(row["messages"], "messages")
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise FieldError("messages", "expected two messages or more, the last of them the assistant's")
        return _rendered(messages[:-1], messages[-1:], render)
    prompt, completion = row.get("prompt"), row.get("completion")
    if completion is None:
        raise FieldError("completion", "is missing")
    if not isinstance(completion, str):
        completion = messages_of(completion, "completion")
    if isinstance(prompt, str):
        return prompt, completion if isinstance(completion, str) else completion[0]["content"]
    prompt = messages_of(prompt, "prompt")
    if isinstance(completion, str):
        return render(prompt, True), completion
    return _rendered(prompt, completion, render)


def _rendered(
    prompt: list[dict[str, str]], completion: list[dict[str, str]], render: Render
) -> tuple[str, str]:
    before, whole = render(prompt, True), render([*prompt, *completion], False)
    if not whole.startswith(before):
        raise FieldError("completion", "the chat template does not continue the prompt's text")
    return before, whole[len(before) :]
