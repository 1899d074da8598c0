"""A scorer that keeps what it has scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pluralign.core import Decision, OptionRewards
from pluralign.core.messages import Messages, dialogue
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.reward import Reward


class Remembered(Reward):
    """A scorer that scores each decision once, because the MODPO runs use the same pairs."""

    def __init__(self, scorer: LikelihoodRatio) -> None:
        self.name = scorer.name
        self._scorer, self._known = scorer, dict[Decision, OptionRewards]()

    @property
    def counts(self) -> Mapping[str, int]:
        return self._scorer.counts

    def render(self, messages: Messages, opens: bool) -> str:
        return dialogue(messages, opens)

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        asked = list(decisions)
        new = [decision for decision in dict.fromkeys(asked) if decision not in self._known]
        self._known |= dict(zip(new, self._scorer.score_decisions(new), strict=True))
        return [self._known[decision] for decision in asked]
