"""Questions whose options have known values, and the answers to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, cast

from pluralign.core.errors import InputError
from pluralign.core.trajectory import Decision

SAME = "same"
"""The answer "about the same"."""

Answer = int | tuple[int, ...] | str
"""Index of the option taken, indices from the best option on, or `SAME`."""


@dataclass(frozen=True)
class Question:
    """A decision together with the value of each option for each objective.

    Values may be rewards, counts of a game, log-probabilities of policies, or attributes of what is offered;
    higher is better. Only differences between options of one decision matter.

    Args:
        decision: Prompt and options.
        values: Values of each option by objective; all options have the same objectives.
        may_tie: Whether "about the same" is offered as an answer (two options only).
        cost: What an answer costs the person, for instance the number of words to read.

    Raises:
        InputError: There are fewer than two options, or values are missing or not finite.

    Examples:
        >>> import pluralign as pl
        >>> said = pl.Decision("My cake fell.", ("Oh dear! Try 180 °C.", "Ovens differ; test yours."))
        >>> pl.Question(said, ({"kind": 1.0, "short": 0.2}, {"kind": 0.1, "short": 0.3})).objectives
        ('kind', 'short')
    """

    decision: Decision
    values: tuple[Mapping[str, float], ...]
    may_tie: bool = False
    cost: float = 1.0

    def __post_init__(self) -> None:
        options = len(self.decision.options)
        if options < 2:
            raise InputError(f"a question needs at least two options, found {options}", field="options")
        if len(self.values) != options:
            raise InputError(
                f"must have one entry per option ({options}), found {len(self.values)}", field="values"
            )
        for index, values in enumerate(self.values):
            if set(values) != set(self.values[0]) or not values:
                found = ", ".join(sorted(values)) or "none"
                raise InputError(
                    f"must name the objectives of the first option, found {found}", field=f"values[{index}]"
                )
            for name, value in values.items():
                if not math.isfinite(value):
                    raise InputError(f"must be finite, found {value}", field=f"values[{index}].{name}")
        if self.may_tie and options != 2:
            raise InputError(f"only questions with two options may tie, found {options}", field="may_tie")
        if not 0 < self.cost < math.inf:
            raise InputError(f"must be above 0 and finite, found {self.cost}", field="cost")

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives that the options have values for."""
        return tuple(self.values[0])


@dataclass(frozen=True)
class Choice:
    """A question and the answer to it.

    Args:
        question: Question that was asked.
        answer: Index of the option taken; or indices from the best option on, where options that are not
            named are below those that are; or `SAME`.
        by: Name of the person who answered, if choices of several people are kept together.
        weight: Number of times that the answer counts.
        part_of: Name of the answer that this is a part of, such as one of a ranking's pairs: the parts of one
            are predicted, held out and counted together. Empty for an answer of its own.

    Raises:
        InputError: The answer is not one of the question's.

    Examples:
        >>> import pluralign as pl
        >>> said = pl.Decision("Say:", ("a", "b"))
        >>> question = pl.Question(said, ({"kind": 1.0}, {"kind": 0.0}), may_tie=True)
        >>> pl.Choice(question, "same").answer
        'same'
    """

    question: Question
    answer: Answer
    by: str = ""
    weight: float = 1.0
    part_of: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.question, Question):
            raise InputError(f"expected a Question, found {self.question!r:.60}", field="question")
        options = len(self.question.decision.options)
        if not isinstance(self.answer, str):
            object.__setattr__(self, "answer", _numbers(self.answer))
        if isinstance(self.answer, str):
            if self.answer != SAME or not self.question.may_tie:
                ties = f" or {SAME!r}" if self.question.may_tie else ""
                raise InputError(
                    f"must be 0 to {options - 1}, a ranking of options{ties}, found {self.answer!r}",
                    field="answer",
                )
        elif not self.ranking or not set(self.ranking) <= set(range(options)):
            raise InputError(f"must be 0 to {options - 1}, found {self.answer}", field="answer")
        elif len(set(self.ranking)) < len(self.ranking):
            raise InputError(f"names an option twice: {self.answer}", field="answer")
        if not 0 < self.weight < math.inf:
            raise InputError(f"must be above 0 and finite, found {self.weight}", field="weight")

    @property
    def ranking(self) -> tuple[int, ...]:
        """Indices from the best option on; empty for `SAME`."""
        if isinstance(self.answer, str):
            return ()
        return self.answer if isinstance(self.answer, tuple) else (self.answer,)


def _numbers(answer: Any) -> int | tuple[int, ...]:
    """An answer in Python's own whole numbers, which files can have."""
    several = isinstance(answer, list | tuple)
    given = tuple(cast("Iterable[Any]", answer)) if several else (answer,)
    if any(isinstance(one, bool) or not isinstance(one, Integral) for one in given):
        raise InputError(f"must be the numbers of options, found {answer!r:.60}", field="answer")
    numbers = tuple(int(one) for one in given)
    return numbers if several else numbers[0]
