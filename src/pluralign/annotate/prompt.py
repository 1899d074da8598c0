"""The prompt that a judge is asked with: a text file that users can replace."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from string import Template

from pluralign.core import Comparison, InputError, Objective, Segment

PLACEHOLDERS = ("objective", "situation", "first", "second")
REQUIRED = ("objective", "first", "second")
LONGEST = 8_000
"""Characters of a course of action that are shown; what is cut comes out of the middle."""


class JudgePrompt:
    """``$objective``, ``$situation``, ``$first`` and ``$second`` in a text; ``$$`` is a dollar sign.

    Braces and anything else in the text, and all of what is put in, stand as they are.

    Args:
        path: the user's file; None takes the one that comes with pluralign.

    Raises:
        InputError: the file cannot be read, has an unknown placeholder, or lacks a needed one.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        if path is None:
            text = resources.files("pluralign.annotate").joinpath("prompts/judge.txt").read_text("utf-8")
        else:
            try:
                text = Path(path).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot be read: {error}", path=path) from error
        self._template = Template(text)
        _check(self._template, path)
        self.digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        """Of the text: 16 hexadecimal digits."""

    def fill(self, comparison: Comparison, objective: Objective) -> str:
        """The prompt for one comparison, in the order that it lists its segments.

        Segments that begin at the same decision share ``$situation``; others each begin with
        their own, and ``$situation`` is empty.
        """
        first, second = comparison.first, comparison.second
        shared = first.steps[0].decision.prompt == second.steps[0].decision.prompt
        situation = f"The situation:\n{first.steps[0].decision.prompt}" if shared else ""
        return self._template.substitute(
            objective=objective.description,
            situation=situation,
            first=tell(first, with_situation=not shared),
            second=tell(second, with_situation=not shared),
        ).strip()


def tell(segment: Segment, *, with_situation: bool) -> str:
    """What was done in a segment, and what came of it up to its last action: the options taken,
    each marked with ``>``, and between them what was shown."""
    parts: list[str] = []
    for number, step in enumerate(segment.steps):
        if number or with_situation:
            parts.append(step.decision.prompt.strip())
        parts.append(f"> {step.decision.options[step.action].strip()}")
        if step.outcome:
            parts.append(step.outcome.strip())
    text = "\n\n".join(parts)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]}\n\n[...]\n\n{text[-LONGEST // 2 :]}"


def _check(template: Template, path: str | Path | None) -> None:
    wanted = ", ".join(f"${name}" for name in PLACEHOLDERS)
    if not template.is_valid():
        raise InputError(f"has a lone '$': write $$ for a dollar sign; placeholders are {wanted}", path=path)
    found = set(template.get_identifiers())
    for name in sorted(found - set(PLACEHOLDERS)):
        raise InputError(f"has the unknown placeholder ${name}; there are {wanted}", path=path)
    for name in REQUIRED:
        if name not in found:
            raise InputError(f"lacks the placeholder ${name}", path=path)
