"""Both orders of each comparison, for raters that read the two segments together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.annotate.rater import Rater, Rating, is_answered
from pluralign.core import Comparison, Objective
from pluralign.core.preference import EXCHANGED, Preference


class BothOrders:
    """A rater's answers in both orders; different answers are a tie.

    `Judge` and `ReplyJudge` present both orders by themselves, and a `RewardRater` scores each text alone.

    Args:
        rater: Rater.
    """

    def __init__(self, rater: Rater) -> None:
        self._rater = rater

    @property
    def name(self) -> str:
        """Name of the rater."""
        return self._rater.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        return {**self._rater.settings, "orders": "both"}

    @property
    def batch(self) -> int:
        """See `Rater.batch`."""
        return self._rater.batch

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` is that of the order as listed, with both ``answers``."""
        listed = self._rater.rate(comparisons, objective)
        exchanged = self._rater.rate([Comparison(c.second, c.first) for c in comparisons], objective)
        ratings: list[Rating | None] = []
        for one, other in zip(listed, exchanged, strict=True):
            if one is None or other is None:
                ratings.append(None)
                continue
            answers: list[Preference] = [one.preference, EXCHANGED[other.preference]]
            agreed: Preference = answers[0] if answers[0] == answers[1] else "tie"
            info: dict[str, Any] = {**one.info, "answers": answers}
            missing = [not is_answered(one), not is_answered(other)]
            ratings.append(Rating(agreed, info | ({"unanswered": missing} if any(missing) else {})))
        return ratings
