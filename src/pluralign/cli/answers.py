"""Answers to prompts, from files: whatever has prompts and completions, as texts or messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pluralign.core import Decision, InputError
from pluralign.core.messages import Render
from pluralign.data.preferences import read_dataset
from pluralign.data.rows import Completions, FieldError, read_completions

Told = str | list[dict[str, str]]
"""A text or messages."""


@dataclass(frozen=True)
class Answers:
    """Answers to one prompt.

    Args:
        prompt: a text, or messages.
        completions: texts, or messages that follow the prompt's.
        path: their file.
        row: the first one's in it.
        samples: the completions' numbers: those that the file gives, else their places among the prompt's.
            Empty where nobody counted.
    """

    prompt: Told
    completions: tuple[Told, ...]
    path: str
    row: int
    samples: tuple[int, ...] = ()

    def decision(self, render: Render) -> Decision:
        """Prompt and completions as a scorer's texts."""
        if isinstance(self.prompt, str):
            return Decision(self.prompt, tuple(_plain(completion) for completion in self.completions))
        prompt = render(self.prompt, True)
        texts = [
            text if isinstance(text, str) else render([*self.prompt, *text], False).removeprefix(prompt)
            for text in self.completions
        ]
        return Decision(prompt, tuple(texts))


@dataclass(frozen=True)
class Source:
    """The answers of one file, by prompt, in its order."""

    path: str
    answers: Mapping[str, Answers]

    def of(self, prompts: Source) -> list[Answers]:
        """The answers to the prompts of another source, in its order.

        Raises:
            InputError: there is none to one of them.
        """
        for key, asked in prompts.answers.items():
            if key not in self.answers:
                where = f"row {asked.row} of {prompts.path}"
                raise InputError(f"has no answer to the prompt of {where}: {key!r:.80}", path=self.path)
        return [self.answers[key] for key in prompts.answers]


def read_answers(path: str, *, one: bool = False) -> Source:
    """Read prompts with their completions.

    Rows have "prompt" and "completion" (texts or messages; what `pluralign generate` writes), or "messages"
    that end with the assistant's, or preferences, whose chosen half is taken. Equal prompts are one prompt
    with several answers.

    Args:
        path: a file, folder or hub id.
        one: whether each prompt must have one answer only.

    Raises:
        InputError: a missing field or one of another type, the same sample of a prompt twice, or no row.
    """
    found: dict[str, list[tuple[Told, Told, int, int]]] = {}
    seen: dict[tuple[str, int], int] = {}
    rows = [row for part in read_dataset(path).values() for row in part]
    for number, row in enumerate(rows, start=1):
        read = _read(row, path, number)
        if read is None:
            continue
        prompt, completion = read
        key = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
        sample = row.get("sample")
        if isinstance(sample, int):
            if (key, sample) in seen:
                first = seen[key, sample]
                raise InputError(
                    f"sample {sample} of this prompt is in row {first}, too",
                    path=path,
                    row=number,
                    field="sample",
                )
            seen[key, sample] = number
        if one and key in found:
            first = found[key][0][2]
            raise InputError(
                f"expected one answer to each prompt; row {first} has the same one", path=path, row=number,
                field="prompt",
            )  # fmt: skip
        own = found.setdefault(key, [])
        own.append((prompt, completion, number, sample if isinstance(sample, int) else len(own)))
    if not found:
        raise InputError("holds no answer", path=path)
    return Source(path, {key: _of_one_prompt(own, path) for key, own in found.items()})


def _of_one_prompt(rows: Sequence[tuple[Told, Told, int, int]], path: str) -> Answers:
    prompt, _, first, _ = rows[0]
    return Answers(prompt, tuple(row[1] for row in rows), path, first, tuple(row[3] for row in rows))


def _read(row: Mapping[str, Any], path: str, number: int) -> tuple[Told, Told] | None:
    """Prompt and completion; None for preferences whose halves share no prompt."""
    if row.get("chosen") is not None and row.get("completion") is None:
        try:
            pair = read_completions(row)
        except FieldError as error:
            raise InputError(str(error), path=path, row=number, field=error.field) from error
        return (pair.prompt, pair.chosen) if isinstance(pair, Completions) else None
    if row.get("messages") is not None:
        messages = _told(row["messages"], path, number, "messages")
        if isinstance(messages, str) or len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise InputError(
                "expected two messages or more, the last of them the assistant's", path=path, row=number,
                field="messages",
            )  # fmt: skip
        return messages[:-1], messages[-1:]
    prompt, completion = (_told(row.get(name), path, number, name) for name in ("prompt", "completion"))
    if isinstance(prompt, str) and not isinstance(completion, str) and len(completion) != 1:
        raise InputError(
            "expected one message after a prompt that is a text", path=path, row=number, field="completion"
        )
    return prompt, completion


def _told(value: Any, path: str, number: int, field: str) -> Told:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        messages = [m for m in value if isinstance(m, dict)]
        if len(messages) == len(value) and all(
            isinstance(m.get(k), str) for m in messages for k in ("role", "content")
        ):
            return [{"role": m["role"], "content": m["content"]} for m in messages]
    found = "is missing" if value is None else f"expected a text or messages, found {value!r:.60}"
    raise InputError(found, path=path, row=number, field=field)


def _plain(completion: Told) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]


def edited(answers: Answers, edit: Callable[[str], str]) -> tuple[Answers | None, list[int | None]]:
    """The answers that an edit changes, edited; and for each answer its place among these, or None."""
    changed: list[Told] = []
    places: list[int | None] = []
    for completion in answers.completions:
        told: Told = (
            edit(completion)
            if isinstance(completion, str)
            else [{**message, "content": edit(message["content"])} for message in completion]
        )
        places.append(None if told == completion else len(changed))
        if told != completion:
            changed.append(told)
    return (replace(answers, completions=tuple(changed), samples=()) if changed else None), places
