"""A reward model as a rater: the completion with the higher reward is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pluralign.annotate.rater import Rating
from pluralign.core import Comparison, Decision, InputError, Objective
from pluralign.core.preference import Preference
from pluralign.rewards.reward import template_of

if TYPE_CHECKING:
    from pluralign.core.messages import Template
    from pluralign.rewards.reward import Reward


class RewardRater:
    """Rates completions by their rewards; equal rewards are a tie.

    Args:
        scorer: Reward model.
        batch: Number of comparisons rated at once.
    """

    def __init__(self, scorer: Reward, *, batch: int = 32) -> None:
        self._scorer, self.batch = scorer, batch
        self.quoted = False
        """Whether the texts were made by the model's own template, which quotes control tokens."""

    @property
    def name(self) -> str:
        """``reward:NAME``."""
        return f"reward:{self._scorer.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        return {"reads": "reward"}

    @property
    def template(self) -> Template:
        """Template by which the reward model reads messages and texts."""
        return template_of(self._scorer)

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains both ``rewards``. The objective is ignored.

        Raises:
            InputError: A segment has several steps, or a reward is not finite.
        """
        decisions: list[Decision] = []
        template = template_of(self._scorer)
        for number, comparison in enumerate(comparisons, start=1):
            for segment in (comparison.first, comparison.second):
                prompt, completion = segment.text(row=number)
                decision = Decision(prompt, (completion,))
                decisions.append(decision if self.quoted else template.quote(decision))
        scored = [float(rewards.mean[0]) for rewards in self._scorer.score_decisions(decisions)]
        ratings: list[Rating | None] = []
        for number, (a, b) in enumerate(zip(scored[::2], scored[1::2], strict=True), start=1):
            if not (np.isfinite(a) and np.isfinite(b)):
                raise InputError(f"the rewards of {self._scorer.name} are not numbers ({a}, {b})", row=number)
            better: Preference = "tie" if a == b else "first" if a > b else "second"
            ratings.append(Rating(better, {"rewards": [a, b]}))
        return ratings
