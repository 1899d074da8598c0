"""The prompt of judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pluralign.core import Comparison, Objective, Segment
from pluralign.lm.prompt_file import PromptFile

LONGEST = 8_000
"""Maximum number of characters of a situation or a course of action; longer texts are cut in the middle."""


class JudgePrompt:
    """Template with ``$objective``, ``$situation``, ``$first`` and ``$second`` (see `PromptFile`).

    Args:
        path: Prompt file; None uses ``annotate/prompts/judge.txt``.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._file = PromptFile(
            path,
            package="pluralign.annotate",
            name="prompts/judge.txt",
            placeholders=("objective", "situation", "first", "second"),
            required=("objective", "first", "second"),
        )
        self.digest = self._file.digest

    def fill(self, comparison: Comparison, objective: Objective) -> str:
        """The prompt of one comparison, with its segments in their listed order.

        Segments that begin at the same decision share ``$situation``. Otherwise each segment begins with its
        own situation, and ``$situation`` is empty.
        """
        first, second = comparison.first, comparison.second
        shared = first.steps[0].decision.prompt == second.steps[0].decision.prompt
        situation = f"The situation:\n{shorten(first.steps[0].decision.prompt)}" if shared else ""
        return self._file.fill(
            objective=objective.description,
            situation=situation,
            first=segment_text(first, with_situation=not shared),
            second=segment_text(second, with_situation=not shared),
        )


class ListPrompt:
    """Template with ``$objective``, ``$situation``, ``$answers`` and ``$letters`` (see `PromptFile`).

    Args:
        path: Prompt file; None uses ``annotate/prompts/listwise.txt``.
        ranks: Whether the answers are to be ranked, rather than the best one named.
    """

    def __init__(self, path: str | Path | None = None, *, ranks: bool = False) -> None:
        self._file = PromptFile(
            path,
            package="pluralign.annotate",
            name="prompts/ranking.txt" if ranks else "prompts/listwise.txt",
            placeholders=("objective", "situation", "answers", "letters"),
            required=("objective", "answers"),
        )
        self.digest = self._file.digest

    def fill(
        self, situation: str, answers: Sequence[str], letters: Sequence[str], objective: Objective
    ) -> str:
        """The prompt of one list of answers, in the order given."""
        listed = [
            f"Answer {letter}:\n> {shorten(text.strip())}"
            for letter, text in zip(letters, answers, strict=True)
        ]
        return self._file.fill(
            objective=objective.description,
            situation=f"The situation:\n{shorten(situation)}",
            answers="\n\n".join(listed),
            letters=f"{', '.join(letters[:-1])} or {letters[-1]}",
        )


def segment_text(segment: Segment, *, with_situation: bool) -> str:
    """Text of a segment up to its last action: the options taken, each marked with ``>``, and the text shown
    between them."""
    parts: list[str] = []
    for number, step in enumerate(segment.steps):
        if number or with_situation:
            parts.append(step.decision.prompt.strip())
        parts.append(f"> {step.decision.options[step.action].strip()}")
        if step.outcome:
            parts.append(step.outcome.strip())
    return shorten("\n\n".join(parts))


def shorten(text: str) -> str:
    """The text, cut in the middle if it has more than `LONGEST` characters."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]}\n\n[...]\n\n{text[-LONGEST // 2 :]}"
