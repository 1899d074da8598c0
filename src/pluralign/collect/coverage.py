"""Play that covers a game: options that were taken least often are preferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pluralign.collect.chooser import Choice, PolicyChooser
from pluralign.core import Decision, Trajectory
from pluralign.core.checks import require_at_least


@dataclass(frozen=True)
class CoverageReport:
    """Options that episodes have taken, of the decisions that they met.

    Args:
        decisions: Number of decisions with two or more options.
        options: Number of their options.
        taken: Number of these options that were taken at least once.
        needed: Number of visits that each option should have.
        missing: Number of options with fewer visits.
    """

    decisions: int
    options: int
    taken: int
    needed: int
    missing: int


@dataclass(frozen=True)
class LackingOption:
    """An option that has fewer visits than it should have.

    Args:
        decision: Decision that has the option.
        action: Index of the option.
        visits: Number of times that it was taken.
    """

    decision: Decision
    action: int
    visits: int

    @property
    def text(self) -> str:
        """The option."""
        return self.decision.options[self.action]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {"decision": self.decision.key, "option": self.text, "visits": self.visits}


class VisitCounts:
    """How often episodes took each option of each decision."""

    def __init__(self) -> None:
        self._visits: dict[str, list[int]] = {}
        self._decisions: dict[str, Decision] = {}

    def add(self, trajectories: Iterable[Trajectory]) -> None:
        """Count the options taken in further episodes."""
        for trajectory in trajectories:
            for step in trajectory.steps:
                decision = self._decisions.setdefault(step.decision.key, step.decision)
                visits = self._visits.setdefault(decision.key, [0] * len(decision.options))
                visits[step.action] += 1

    def of(self, decision: Decision) -> list[int]:
        """Number of visits of each option."""
        return self._visits.get(decision.key, [0] * len(decision.options))

    def report(self, needed: int = 1) -> CoverageReport:
        """Options that were taken, of decisions with two or more.

        Args:
            needed: Number of visits that each option should have.
        """
        rows = [row for row in self._visits.values() if len(row) > 1]
        return CoverageReport(
            decisions=len(rows),
            options=sum(map(len, rows)),
            taken=sum(visits > 0 for row in rows for visits in row),
            needed=needed,
            missing=sum(visits < needed for row in rows for visits in row),
        )

    def lacking(self, needed: int = 1) -> list[LackingOption]:
        """Options with fewer visits than needed, of decisions with two or more: those with the fewest first,
        otherwise in the order in which their decisions were met.

        Args:
            needed: Number of visits that each option should have.
        """
        found = [
            LackingOption(decision, action, visits)
            for key, decision in self._decisions.items()
            if len(decision.options) > 1
            for action, visits in enumerate(self._visits[key])
            if visits < needed
        ]
        return sorted(found, key=lambda option: option.visits)


class CoverageChooser:
    """Chooses options with probabilities in proportion to 1 / (visits + 1), with visits counted again for
    each round of episodes.

    After the objective-agnostic part of Tarbouriech et al. 2021 (arXiv 2007.06437), which collects a
    prescribed number of samples of every state and action as fast as it can; the rule is ours. Within a round
    the counts stay as they are, so that choices depend on nothing but decision and seed, and an interrupted
    file continues exactly: a round's counts are those of the file's earlier rounds.

    Args:
        round_size: Number m of episodes in a round.
        needed: Number of visits that each option should have; options with fewer are preferred to all others.
    """

    name = "coverage"

    def __init__(self, round_size: int = 10, needed: int = 1) -> None:
        require_at_least(1, round_size=round_size, needed=needed)
        self.round_size, self._needed = round_size, needed
        self.counts = VisitCounts()
        self._round = PolicyChooser(self)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {"round_size": self.round_size, "needed": self._needed}

    def start_round(self, episodes: Iterable[Trajectory]) -> None:
        """Count the episodes of the round before, and begin the next one."""
        self.counts.add(episodes)
        self._round = PolicyChooser(self)

    def choose(self, decisions: Sequence[Decision], seeds: Sequence[int]) -> list[Choice]:
        """See `Chooser.choose`."""
        return self._round.choose(decisions, seeds)

    def log_probs(self, decisions: Sequence[Decision]) -> list[Any]:
        """See `Policy.log_probs`; the policy of the present round."""
        return [np.log(self._probabilities(self.counts.of(decision))) for decision in decisions]

    def _probabilities(self, visits: Sequence[int]) -> Any:
        counts = np.array(visits, dtype=np.float64)
        lacking = counts < self._needed
        # Others keep a small share, so that what is behind them can be reached.
        favour = np.where(lacking | ~lacking.any(), 1.0, 0.1) / (counts + 1)
        return favour / favour.sum()
