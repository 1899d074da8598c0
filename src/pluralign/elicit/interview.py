"""Questions to a person one after another, until their answers decide enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pluralign.core import InputError
from pluralign.core.checks import require_seed
from pluralign.core.choice import Choice, Question
from pluralign.elicit.choice_data import objectives_of, value_scales
from pluralign.elicit.posterior import LAPSE, WeightPosterior, infer_weights
from pluralign.elicit.prior import WeightPrior
from pluralign.elicit.questions import LEAST_INFORMATION, Suggestion, next_question

End = Literal["number", "information", "pool"]
"""Why no question follows: enough were asked, none says enough, or none is left."""


@dataclass(frozen=True, eq=False)
class Turn:
    """What is known after some answers, and what to ask next.

    Args:
        posterior: Posterior of the weights.
        suggestion: Next question; None at the end.
        end: Why no question follows; None if one does.
    """

    posterior: WeightPosterior
    suggestion: Suggestion | None
    end: End | None


@dataclass(frozen=True)
class Interview:
    """Questions of a pool, chosen by the answers before.

    It keeps nothing: the same answers lead to the same next question, so that an interrupted interview
    continues, and a server needs no memory of a person.

    Args:
        pool: Questions with values for the same objectives.
        questions: Largest number of questions.
        least_information: Information, in nats, below which a question is not asked.
        scales: Unit of each objective's values; None is their deviation over the pool.
        prior: Prior of the weights; None is uniform on the simplex.
        lapse: Probability of an answer at random.
        seed: Random seed of the draws, and of choices among equal questions.

    Raises:
        InputError: The pool is empty, has different objectives or a question twice, or a setting is out of
            bounds.
    """

    pool: Sequence[Question]
    questions: int = 8
    least_information: float = LEAST_INFORMATION
    scales: Mapping[str, float] | None = None
    prior: WeightPrior | None = None
    lapse: float = LAPSE
    seed: int = 0

    def __post_init__(self) -> None:
        objectives_of(self.pool)
        if len(self.by_key) < len(self.pool):
            seen: set[str] = set()
            for row, question in enumerate(self.pool, start=1):
                if question.decision.key in seen:
                    raise InputError("is in the pool twice (prompt and options)", row=row, field="pool")
                seen.add(question.decision.key)
        require_seed(self.seed)
        if self.questions < 1:
            raise InputError(f"must be at least 1, found {self.questions}", field="questions")
        if not self.least_information >= 0:
            raise InputError(f"must be at least 0, found {self.least_information}", field="least_information")

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives of the questions."""
        return self.pool[0].objectives

    @cached_property
    def units(self) -> Mapping[str, float]:
        """Unit of each objective's values."""
        return self.scales or value_scales(self.pool)

    @cached_property
    def by_key(self) -> Mapping[str, Question]:
        """Questions by the keys of their decisions."""
        return {question.decision.key: question for question in self.pool}

    def turn(self, choices: Sequence[Choice], skipped: Collection[str] = ()) -> Turn:
        """The posterior after some answers, and the next question.

        Args:
            choices: Answers so far, in any order.
            skipped: Keys of decisions that are not asked.
        """
        posterior = infer_weights(
            choices, self.objectives, prior=self.prior, scales=self.units, lapse=self.lapse, seed=self.seed
        )
        if len(choices) >= self.questions:
            return Turn(posterior, None, "number")
        asked = [*skipped, *(choice.question.decision.key for choice in choices)]
        suggestion = next_question(
            posterior, self.pool, asked=asked, least_information=self.least_information, seed=self.seed
        )
        if suggestion is None:
            return Turn(posterior, None, "pool")
        if suggestion.information < self.least_information:
            return Turn(posterior, None, "information")
        return Turn(posterior, suggestion, None)
