"""Choosers: players for `collect`. A chooser takes a batch of decisions and returns one option for each.

Any object with the three members of `Chooser` is a chooser.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pluralign.core import Decision, InputError, Policy, Trajectory
from pluralign.core.interfaces import require_policy

SEED_RANGE = 2**63


def uniform(seed: int) -> float:
    """A uniform number in [0, 1) from a seed; seeds are already uniform on their range. Only the 53 bits of a
    double are used, because rounding could give 1."""
    return (seed >> 10) / 2**53


@dataclass(frozen=True)
class Choice:
    """The option taken, with details for `Step.info`."""

    action: int
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Chooser(Protocol):
    """A player: chooses options, with or without known probabilities."""

    @property
    def name(self) -> str:
        """Name of the chooser, for trajectories and reports."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings that choices depend on besides the decision and the seed, as JSON values; a file
        collected under other settings is not continued."""
        ...

    def choose(self, decisions: Sequence[Decision], seeds: Sequence[int]) -> list[Choice]:
        """Make one choice per decision. Each depends on its decision and its seed (0 to 2**63 - 1) and on
        nothing else in the batch."""
        ...


@runtime_checkable
class RoundChooser(Chooser, Protocol):
    """A chooser that learns from the episodes of earlier rounds, and stays the same within a round."""

    @property
    def round_size(self) -> int:
        """Number of episodes in a round; episode e is in round e // round_size."""
        ...

    def start_round(self, episodes: Iterable[Trajectory]) -> None:
        """Take note of the episodes of the round before, and begin the next one."""
        ...


@runtime_checkable
class StateChooser(Chooser, Protocol):
    """A chooser that knows the game's saved state (`Game.save`)."""

    def choose_at(
        self, states: Sequence[Hashable], decisions: Sequence[Decision], seeds: Sequence[int]
    ) -> list[Choice]:
        """Make one choice per state, as `choose` does per decision."""
        ...


class PolicyChooser:
    """Samples from a policy, or takes its most likely option.

    Policies are functions of the decision, so each distinct decision is evaluated once and its probabilities
    are cached.

    Args:
        policy: Policy that plays.
        greedy: Whether to take the most likely option (the first of equals) instead of sampling.
        more: Further settings of the policy, as JSON values, besides its name and its own ``settings``.
    """

    def __init__(
        self, policy: Policy, *, greedy: bool = False, more: Mapping[str, Any] | None = None
    ) -> None:
        require_policy(policy)
        self._policy, self._greedy, self._more = policy, greedy, dict(more or {})
        self._known: dict[str, tuple[list[float], list[float]]] = {}

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._policy.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {"greedy": self._greedy, **getattr(self._policy, "settings", {}), **self._more}

    @property
    def identity(self) -> Mapping[str, Any]:
        """What changes with the policy's weights; empty if unknown."""
        return getattr(self._policy, "identity", {})

    def choose(self, decisions: Sequence[Decision], seeds: Sequence[int]) -> list[Choice]:
        """See `Chooser.choose`; `info` contains the behaviour policy's log-probability of the option."""
        unknown = {d.key: d for d in decisions if d.key not in self._known}
        if unknown:
            answers = self._policy.log_probs(list(unknown.values()))
            for (key, decision), log_probs in zip(unknown.items(), answers, strict=True):
                self._known[key] = self._steps(decision, log_probs)
        choices: list[Choice] = []
        for decision, seed in zip(decisions, seeds, strict=True):
            cumulative, log_probs = self._known[decision.key]
            action = bisect_right(cumulative, uniform(seed))
            choices.append(Choice(action, {"log_prob": log_probs[action]}))
        return choices

    def _steps(self, decision: Decision, log_probs: Any) -> tuple[list[float], list[float]]:
        array = np.asarray(log_probs, dtype=np.float64)
        if array.shape != (len(decision.options),) or np.isnan(array).any():
            raise InputError(
                f"policy '{self.name}' must give one log-probability for each of {len(decision.options)} "
                f"options, found {array.tolist()!r:.60}"
            )
        if self._greedy:
            probs = np.zeros_like(array)
            probs[array.argmax()] = 1.0
        else:
            probs = np.exp(array)
        cumulative = np.cumsum(probs)
        if abs(cumulative[-1] - 1.0) > 1e-3:
            raise InputError(f"policy '{self.name}' gave probabilities that sum to {cumulative[-1]:g}, not 1")
        cumulative /= cumulative[-1]
        with np.errstate(divide="ignore"):
            kept = np.log(probs) if self._greedy else array
        return cumulative.tolist(), kept.tolist()
