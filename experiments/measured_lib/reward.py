"""A program's measure of texts as a reward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from measured_lib.measures import Measure
from pluralign.core import Decision, OptionRewards
from pluralign.core.messages import Messages, dialogue
from pluralign.rewards.reward import Reward


class MeasuredReward(Reward):
    """A measure of the completion alone; prompts do not matter.

    Args:
        name: Name in reports.
        measure: Function from a text to a number.
    """

    def __init__(self, name: str, measure: Measure) -> None:
        self.name, self._measure = name, measure

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`; nothing is ever cut."""
        return {}

    def render(self, messages: Messages, opens: bool) -> str:
        """See `Reward`."""
        return dialogue(messages, opens)

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`."""
        found = [np.array([self._measure(text) for text in one.options], float) for one in decisions]
        return [OptionRewards(means, np.zeros_like(means)) for means in found]
