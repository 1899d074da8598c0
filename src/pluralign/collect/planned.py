"""Play that plans through the states seen so far to options that were taken too rarely."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pluralign.collect.chooser import Choice, uniform
from pluralign.collect.coverage import VisitCounts
from pluralign.core import Decision, InputError, Trajectory
from pluralign.core.checks import require_at_least
from pluralign.games.game import Game

Unit = Literal["states", "decisions"]
"""What has to be taken often enough: the options of each state, or of each decision in any of its states."""
Lacks = Callable[[Hashable, Decision], list[bool]]
"""Function from a state and its decision to whether each option is needed."""


class PlannedCoverage:
    """Goes to the nearest option that has been taken too rarely, along steps that earlier episodes took.

    The objective-agnostic part of Tarbouriech et al. 2021 (arXiv 2007.06437): repeated shortest paths whose
    goal is any option that still needs visits, each step at a cost of one. Without random numbers the steps
    seen are the model. Choices depend on the state and the seed, and counts are those of earlier rounds, so
    that an interrupted file continues exactly. Where nothing that is needed can be reached by known steps,
    options are taken with probabilities in proportion to 1 / (visits + 1).

    With rounds of one episode, each takes an option that was needed as long as one can be reached.

    Args:
        make_game: Function that makes a game, on which episodes are replayed for their states.
        unit: What has to be taken often enough.
        needed: Number of visits that each option should have, of decisions with two or more.
        round_size: Number of episodes in a round.

    Raises:
        InputError: The game draws random numbers, or a number is out of range.
    """

    name = "coverage"

    def __init__(
        self, make_game: Callable[[], Game], *, unit: Unit = "decisions", needed: int = 1, round_size: int = 1
    ) -> None:
        require_at_least(1, round_size=round_size, needed=needed)
        self._game = make_game()
        if self._game.info.random:
            raise InputError(
                f"'{self._game.info.name}' draws random numbers: its states do not come back", field="plan"
            )
        self._unit: Unit = unit
        self._needed, self.round_size = needed, round_size
        self.counts = VisitCounts()
        self._decisions: dict[Hashable, Decision] = {}
        self._visits: dict[Hashable, list[int]] = {}
        self._following: dict[Hashable, dict[int, Hashable | None]] = {}
        self._far: list[dict[Hashable, int]] = []

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {"round_size": self.round_size, "needed": self._needed, "plan": self._unit}

    @property
    def state_options(self) -> tuple[int, int]:
        """Number of options of the states met, of those with two or more, and how many were taken."""
        rows = [own for own in self._visits.values() if len(own) > 1]
        return sum(map(len, rows)), sum(visits > 0 for own in rows for visits in own)

    def start_round(self, episodes: Iterable[Trajectory]) -> None:
        """Replay the episodes of the round before, and plan the next one.

        Raises:
            InputError: An episode is of another game.
        """
        for trajectory in episodes:
            self.counts.add([trajectory])
            self._replay(trajectory)
        before = self._before()
        self._far = [_distances(self._goals(lacks), before) for lacks in self._lacking()]

    def choose(self, decisions: Sequence[Decision], seeds: Sequence[int]) -> list[Choice]:
        """See `Chooser.choose`; without a state there is no plan."""
        return [
            _drawn(1 / (np.array(self.counts.of(decision)) + 1.0), seed)
            for decision, seed in zip(decisions, seeds, strict=True)
        ]

    def choose_at(
        self, states: Sequence[Hashable], decisions: Sequence[Decision], seeds: Sequence[int]
    ) -> list[Choice]:
        """See `StateChooser.choose_at`."""
        return [
            _drawn(self._weights(state, decision), seed)
            for state, decision, seed in zip(states, decisions, seeds, strict=True)
        ]

    def _weights(self, state: Hashable, decision: Decision) -> npt.NDArray[np.float64]:
        visits = self._state_visits(state, decision)
        favour = 1 / (np.array(visits) + 1.0)
        for lacks, far in zip(self._lacking(), self._far, strict=False):
            wanted = np.array(lacks(state, decision))
            if not wanted.any():
                after = self._following.get(state, {})
                # The end, and what nobody has tried, are on the way to nothing.
                steps = [
                    np.inf if after.get(a) is None else far.get(after[a], np.inf) for a in range(len(visits))
                ]
                wanted = np.isfinite(steps) & (np.array(steps) == min(steps))
            if wanted.any():
                return np.where(wanted, favour, 0.0)
        return favour

    def _lacking(self) -> list[Lacks]:
        """Functions that say which options of a state are needed, the most wanted kind first."""
        own: list[Lacks] = [
            lambda state, decision: [
                n < self._needed_of(decision) for n in self._state_visits(state, decision)
            ]
        ]
        if self._unit == "states":
            return own
        return [
            lambda state, decision: [n < self._needed_of(decision) for n in self.counts.of(decision)],
            # Behind what a state has not tried there may be decisions that nobody has met.
            lambda state, decision: [n < 1 for n in self._state_visits(state, decision)],
        ]

    def _needed_of(self, decision: Decision) -> int:
        """Number of visits that each option of a decision should have. A single one is no choice; it is
        needed once, for what may be behind it."""
        return self._needed if len(decision.options) > 1 else 1

    def _state_visits(self, state: Hashable, decision: Decision) -> list[int]:
        return self._visits.get(state, [0] * len(decision.options))

    def _replay(self, trajectory: Trajectory) -> None:
        game = self._game
        game.reset(trajectory.seed)
        for step in trajectory.steps:
            if game.decision != step.decision:
                raise InputError(f"episode {trajectory.id!r} is not of '{game.info.name}' as it is now")
            state = game.save()
            self._decisions[state] = step.decision
            self._visits.setdefault(state, [0] * len(step.decision.options))[step.action] += 1
            game.choose(step.action)
            after = None if game.decision is None else game.save()
            self._following.setdefault(state, {})[step.action] = after
            if game.decision is not None:
                # Episodes that were cut off end at a state of which nothing has been tried.
                self._decisions[after] = game.decision

    def _before(self) -> dict[Hashable, list[Hashable]]:
        """States from which a known step leads to each state."""
        before: dict[Hashable, list[Hashable]] = {}
        for state, steps in self._following.items():
            for after in steps.values():
                if after is not None:
                    before.setdefault(after, []).append(state)
        return before

    def _goals(self, lacks: Lacks) -> list[Hashable]:
        """States with an option that is needed."""
        return [state for state, decision in self._decisions.items() if any(lacks(state, decision))]


def _distances(
    goals: Sequence[Hashable], before: Mapping[Hashable, Sequence[Hashable]]
) -> dict[Hashable, int]:
    """Number of known steps from each state to the nearest goal; states from which none is reached lack."""
    far = dict.fromkeys(goals, 0)
    waiting = deque(goals)
    while waiting:
        state = waiting.popleft()
        for earlier in before.get(state, ()):
            if earlier not in far:
                far[earlier] = far[state] + 1
                waiting.append(earlier)
    return far


def _drawn(weights: npt.NDArray[np.float64], seed: int) -> Choice:
    """An option with probability in proportion to its weight."""
    chances = weights / weights.sum()
    action = min(int(np.searchsorted(np.cumsum(chances), uniform(seed), side="right")), len(weights) - 1)
    return Choice(action, {"log_prob": float(np.log(chances[action]))})
