"""Decisions, steps, trajectories and segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any

from pluralign.core.digests import digest
from pluralign.core.errors import InputError


@dataclass(frozen=True)
class Decision:
    """A prompt (state) with its options (actions, completions).

    The prompt contains everything that a policy may know. Two decisions with the same prompt and the same
    options are the same decision.

    Examples:
        >>> import pluralign as pl
        >>> pl.Decision("The door is locked.", ("Knock.", "Leave.")).options
        ('Knock.', 'Leave.')
    """

    prompt: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        given: Any = self.options
        # A text in brackets without a comma is no tuple.
        options: tuple[Any, ...] = tuple(given) if hasattr(given, "__iter__") else (given,)
        if isinstance(given, str) or not all(isinstance(text, str) for text in options):
            raise InputError(f"expected a tuple of texts, found {given!r:.60}", field="options")
        if not isinstance(self.prompt, str):
            raise InputError(f"expected a text, found {self.prompt!r:.60}", field="prompt")
        if not options:
            raise InputError("a decision needs at least one option", field="options")
        # With a list it would differ from the same decision in a file.
        object.__setattr__(self, "options", options)

    @cached_property
    def key(self) -> str:
        """Digest of the prompt and the options, 32 hexadecimal digits, equal across processes."""
        texts = [text.encode() for text in (self.prompt, *self.options)]
        # The length comes first, so that different splits of one text do not collide.
        return digest(part for text in texts for part in (len(text).to_bytes(8, "little"), text))


@dataclass(frozen=True)
class Step:
    """A decision, the option taken, and its consequences.

    Args:
        decision: Decision that was presented.
        action: Index of the option taken.
        rewards: Rewards by objective name; empty if none are known.
        counts: A game's raw counts for this step by metric name (non-zero ones only): points, violations.*,
            power.*, utility.*. Objectives and harms tables are computed from these.
        outcome: Text that followed the action, up to the next decision.
        info: Provenance of the action: malformed replies, behaviour log-probability, ...

    Examples:
        >>> import pluralign as pl
        >>> step = pl.Step(pl.Decision("The door is locked.", ("Knock.", "Leave.")), 1, {"score": 2.0})
        >>> step.decision.options[step.action]
        'Leave.'
    """

    decision: Decision
    action: int
    rewards: Mapping[str, float] = field(default_factory=dict[str, float])
    counts: Mapping[str, float] = field(default_factory=dict[str, float])
    outcome: str = ""
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if type(self.action) is not int:
            if isinstance(self.action, bool) or not isinstance(self.action, Integral):
                raise InputError(f"expected a whole number, found {self.action!r:.60}", field="action")
            object.__setattr__(self, "action", int(self.action))
        if not 0 <= self.action < len(self.decision.options):
            raise InputError(
                f"must be 0 to {len(self.decision.options) - 1}, found {self.action}", field="action"
            )


@dataclass(frozen=True)
class Trajectory:
    """An episode.

    Args:
        id: Unique id within its file.
        source: Name of the story or data set.
        policy: Name of the policy that acted.
        seed: Random seed of the episode.
        steps: Steps in order.
        terminated: Whether the story ended.
        truncated: Whether the episode was cut off; never together with ``terminated``.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> (played,) = pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=1, seed=0, objectives=[])
        >>> len(played.steps) > 0
        True
    """

    id: str
    source: str
    policy: str
    seed: int
    steps: tuple[Step, ...]
    terminated: bool
    truncated: bool = False
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError(f"trajectory {self.id!r} has no steps", field="steps")
        if self.terminated and self.truncated:
            raise InputError(f"trajectory {self.id!r} is both terminated and truncated", field="truncated")

    def returns(self) -> dict[str, float]:
        """Sum of rewards by objective."""
        return sum_by_name([step.rewards for step in self.steps])

    def counts(self) -> dict[str, float]:
        """Sum of the raw counts by metric."""
        return sum_by_name([step.counts for step in self.steps])

    def segment(self, start: int = 0, stop: int | None = None) -> Segment:
        """Contiguous slice of steps from ``start`` up to ``stop``."""
        stop = len(self.steps) if stop is None else min(stop, len(self.steps))
        if not 0 <= start < stop:
            raise InputError(
                f"segment {start}:{stop} of trajectory {self.id!r} ({len(self.steps)} steps) is empty"
            )
        return Segment(self.id, start, self.steps[start:stop])


@dataclass(frozen=True)
class Segment:
    """A contiguous slice of a trajectory: ``steps`` from index ``start`` of ``trajectory_id``.

    Examples:
        >>> import pluralign as pl
        >>> said = pl.Decision("Say:", (" yes", " no"))
        >>> pl.Segment("one", 0, (pl.Step(said, 0),)).text()
        ('Say:', ' yes')
    """

    trajectory_id: str
    start: int
    steps: tuple[Step, ...]

    @property
    def stop(self) -> int:
        """Index after the last step."""
        return self.start + len(self.steps)

    @property
    def id(self) -> str:
        """``trajectory:start:stop``."""
        return f"{self.trajectory_id}:{self.start}:{self.stop}"

    @property
    def content(self) -> tuple[tuple[str, int], ...]:
        """Key of the decision and option taken, of each step: segments of two stories may share an id."""
        return tuple((step.decision.key, step.action) for step in self.steps)

    def text(self, *, row: int | None = None) -> tuple[str, str]:
        """(prompt, completion) of a segment of one step: its decision's prompt and the option taken.

        Args:
            row: Number of the segment, for error messages.

        Raises:
            InputError: The segment has several steps, so it is not a completion of one prompt.
        """
        if len(self.steps) != 1:
            raise InputError(
                f"completions have one step, this segment has {len(self.steps)}; learn cpl takes such pairs",
                row=row,
            )
        (step,) = self.steps
        return step.decision.prompt, step.decision.options[step.action]

    def returns(self) -> dict[str, float]:
        """Sum of rewards by objective."""
        return sum_by_name([step.rewards for step in self.steps])

    def counts(self) -> dict[str, float]:
        """Sum of the raw counts by metric."""
        return sum_by_name([step.counts for step in self.steps])


def sum_by_name(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Add mappings key by key."""
    total: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            total[name] = total.get(name, 0.0) + value
    return total
