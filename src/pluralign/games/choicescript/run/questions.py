"""Questions of ``*input_text`` and ``*input_number``, and their answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pluralign.games.choicescript.language.values import EvaluationError, tidy

DEFAULT_TEXT = "Alex"
"""Default answer to ``*input_text``."""


@dataclass(frozen=True)
class Question:
    """A question of ``*input_text`` or ``*input_number``.

    Args:
        variable: Name of the variable that gets the answer.
        low: Smallest number; None for text.
        high: Largest number; None for text.
        path: File of the scene.
        line: Number of the line, from 1.
    """

    variable: str
    low: float | None
    high: float | None
    path: str
    line: int

    @property
    def whole(self) -> bool:
        """Whether the number must be whole, as both bounds are."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Ask = Callable[[Question], str | float]
"""A function that answers a question."""


def default_answer(question: Question) -> str | float:
    """`DEFAULT_TEXT`, or the middle of the bounds; for whole numbers rounded down."""
    if question.low is None or question.high is None:
        return DEFAULT_TEXT
    middle = question.low + (question.high - question.low) / 2
    return math.floor(middle) if question.whole else tidy(middle)


def check_answer(question: Question, answer: str | float) -> str | float:
    """Check and return the answer to a question.

    Raises:
        EvaluationError: The answer is not a string, or not a number within the bounds.
    """
    if question.low is None or question.high is None:
        if isinstance(answer, str):
            # A line break of a long answer is a line break of its text.
            return answer.strip().replace("\n", "[n/]")
        raise EvaluationError(f"'{question.variable}' needs a string as an answer, found {answer!r}")
    if isinstance(answer, bool | str) or not question.low <= answer <= question.high:
        bounds = f"a number from {question.low} to {question.high}"
        raise EvaluationError(f"'{question.variable}' needs {bounds}, found {answer!r}")
    if question.whole and answer != int(answer):
        raise EvaluationError(f"'{question.variable}' needs a whole number, found {answer!r}")
    return tidy(float(answer))
