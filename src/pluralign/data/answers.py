"""Answers to prompts, as a data set contains them, in texts or messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pluralign.core import Decision, InputError
from pluralign.core.messages import Render
from pluralign.data.columns import Content, FieldError, columns_of
from pluralign.data.reading import read_row
from pluralign.data.rendering import as_texts
from pluralign.data.rows import ADAPTIVE, ADAPTIVE_REASON, read_answer
from pluralign.data.source import Data, open_table


@dataclass(frozen=True)
class Answers:
    """Answers to one prompt.

    Args:
        prompt: A text, or messages.
        completions: Texts, or messages that follow the prompt's.
        path: File of the answers; empty for rows in memory.
        row: Row number of the first answer, counted from 1.
        samples: Sample numbers of the completions: those in the file, or else their positions among the
            prompt's answers. Empty if the completions were not numbered.
    """

    prompt: Content
    completions: tuple[Content, ...]
    path: str
    row: int
    samples: tuple[int, ...] = ()

    def decision(self, render: Render) -> Decision:
        """Prompt and completions as texts for a scorer.

        Raises:
            InputError: The template does not continue the prompt's messages.
        """
        try:
            texts = [as_texts(self.prompt, completion, render) for completion in self.completions]
        except FieldError as error:
            raise InputError(str(error), path=self.path or None, row=self.row, field=error.field) from error
        return Decision(texts[0][0], tuple(completion for _, completion in texts))


@dataclass(frozen=True)
class AnswerSet:
    """Answers of one source, by prompt, in the source's order.

    Args:
        path: File of the answers; empty for rows in memory.
        answers: Answers by prompt.
        adaptive: Row number of the first answer that was drawn until one was good enough (`generate --samples
            4..32`); None if there is none.
    """

    path: str
    answers: Mapping[str, Answers]
    adaptive: int | None = None

    def require_fixed_number(self) -> None:
        """Refuse samples that are no fair sample of the model.

        Raises:
            InputError: Some were drawn until one was good enough.
        """
        if self.adaptive is not None:
            raise InputError(ADAPTIVE_REASON, path=self.path or None, row=self.adaptive, field=ADAPTIVE)

    def of(self, prompts: AnswerSet) -> list[Answers]:
        """Answers to the prompts of another set, in that set's order.

        Raises:
            InputError: A prompt has no answer here.
        """
        for key, asked in prompts.answers.items():
            if key not in self.answers:
                where = f"row {asked.row} of {prompts.path or 'the prompts'}"
                raise InputError(
                    f"has no answer to the prompt of {where}: {key!r:.80}", path=self.path or None
                )
        return [self.answers[key] for key in prompts.answers]


def load_answers(data: Data, *, one: bool = False) -> AnswerSet:
    """Read prompts with their completions; rows with equal prompts become one prompt with several answers.

    Rows are those of `load_demonstrations`. Empty completions are kept.

    Examples:
        >>> drawn = load_answers([{"prompt": "Say a:", "completion": text} for text in (" a", " b")])
        >>> drawn.answers["Say a:"].completions
        (' a', ' b')

    Args:
        data: See `load_pairs`.
        one: Whether each prompt must have one answer only.

    Raises:
        InputError: A field is missing or has another type, a sample of a prompt occurs twice, or there is no
            row.
    """
    table = open_table(data)
    found: dict[str, list[tuple[Content, Content, int, int]]] = {}
    seen: dict[tuple[str, int], int] = {}
    adaptive: int | None = None
    for number, (_, _, row) in enumerate(table.rows(), start=1):
        read = read_row(table, number, lambda row=row: read_answer(row))
        if read is None:
            continue
        prompt, completion = read
        if adaptive is None and row.get(ADAPTIVE) is not None:
            adaptive = number
        key = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
        if more := columns_of(prompt):
            key += json.dumps(more, ensure_ascii=False)
        sample = row.get("sample")
        if isinstance(sample, int):
            if (key, sample) in seen:
                first = seen[key, sample]
                raise table.error(
                    f"sample {sample} of this prompt is already in row {first}", row=number, field="sample"
                )
            seen[key, sample] = number
        if one and key in found:
            first = found[key][0][2]
            raise table.error(
                f"expected one answer per prompt; row {first} has the same prompt",
                row=number,
                field="prompt",
            )
        own = found.setdefault(key, [])
        own.append((prompt, completion, number, sample if isinstance(sample, int) else len(own)))
    if not found:
        raise table.error("holds no answer")
    path = table.path or ""
    return AnswerSet(path, {key: _of_one_prompt(own, path) for key, own in found.items()}, adaptive)


def _of_one_prompt(rows: Sequence[tuple[Content, Content, int, int]], path: str) -> Answers:
    prompt, _, first, _ = rows[0]
    return Answers(prompt, tuple(row[1] for row in rows), path, first, tuple(row[3] for row in rows))


def edited(answers: Answers, edit: Callable[[str], str]) -> tuple[Answers | None, list[int | None]]:
    """The answers that an edit changes, after the edit; and the index of each answer among them, or None."""
    changed: list[Content] = []
    places: list[int | None] = []
    for completion in answers.completions:
        new: Content = (
            edit(completion)
            if isinstance(completion, str)
            else [{**m, "content": edit(m["content"])} if m["content"] else m for m in completion]
        )
        places.append(None if new == completion else len(changed))
        if new != completion:
            changed.append(new)
    return (replace(answers, completions=tuple(changed), samples=()) if changed else None), places
