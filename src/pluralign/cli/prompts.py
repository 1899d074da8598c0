"""Prompts to complete: from files of prompts, of conversations and of preferences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.messages import Render
from pluralign.data.preferences import read_dataset
from pluralign.data.rows import Completions, FieldError, read_completions


@dataclass(frozen=True)
class Prompt:
    """What is to be completed.

    Args:
        given: as it stood in the file.
        text: as the model reads it.
    """

    given: Any
    text: str


def read_prompts(source: str, render: Render, limit: int | None = None) -> tuple[Counter[str], list[Prompt]]:
    """Each prompt of a file, folder or hub id once, and what was left out.

    Counts: ``rows``; ``repeated`` (prompts that occurred before); ``empty`` (without text); ``unusable``
    (preference rows whose two completions have no prompt in common).

    Args:
        source: with a column "prompt" (texts or messages), "messages", or TRL's "chosen" and "rejected"; a
            .txt has one prompt a line.
        render: makes text of messages.
        limit: at most so many prompts.

    Raises:
        InputError: it cannot be read, a row has no prompt (with file, row and field), or none is left.
    """
    counts: Counter[str] = Counter(rows=0, repeated=0, empty=0, unusable=0)
    found: dict[str, Prompt] = {}
    for number, row in enumerate(_rows(source), start=1):
        if limit is not None and len(found) == limit:
            break
        counts["rows"] += 1
        try:
            prompt = _prompt(row, render)
        except FieldError as error:
            raise InputError(str(error), path=source, row=number, field=error.field) from error
        if prompt is None:
            counts["unusable"] += 1
        elif not prompt.text.strip():
            counts["empty"] += 1
        elif prompt.text in found:
            counts["repeated"] += 1
        else:
            found[prompt.text] = prompt
    if not found:
        raise InputError(f"holds no prompt: {dict(counts)}", path=source)
    return counts, list(found.values())


def _rows(source: str) -> list[Mapping[str, Any]]:
    path = Path(source)
    if path.suffix != ".txt":
        return [row for part in read_dataset(source).values() for row in part]
    try:
        return [{"prompt": line} for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", path=path) from error


def _prompt(row: Mapping[str, Any], render: Render) -> Prompt | None:
    """The prompt of a row; None where a preference row has two, or none."""
    given: Any = row.get("prompt")
    if given is None and row.get("chosen") is not None:
        pair = read_completions(row, render)
        return Prompt(pair.prompt, pair.prompt) if isinstance(pair, Completions) else None
    if given is None and isinstance(row.get("messages"), list):
        given = _before_the_answer(row["messages"])
    if isinstance(given, str):
        return Prompt(given, given)
    if not isinstance(given, list) or not all(_is_message(message) for message in given):
        raise FieldError("prompt", f"expected a text or messages, found {given!r:.60}")
    there = any(message["content"].strip() for message in given)
    return Prompt(given, render(given, True) if there else "")


def _before_the_answer(messages: list[Any]) -> list[Any]:
    answered = bool(messages) and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"
    return messages[:-1] if answered else messages


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
