"""What gives completions a reward, seen from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pluralign.core import Decision, OptionRewards
from pluralign.core.messages import Messages


class CompletionScorer(Protocol):
    """A `RewardModel`, a `ClassifierScorer`, a `LikelihoodRatio` or a `RewardEnsemble`."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """Completions read so far, and what of them was cut."""
        ...

    def score(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """The reward of each option (completion) of each decision, after its prompt as it stands. What
        else is scored with it changes nothing."""
        ...

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages as the text that it reads; ``opens`` begins the assistant's turn."""
        ...
