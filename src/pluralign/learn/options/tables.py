"""Trajectories and pairs as tensors of indices into their distinct decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pluralign.core import Decision, InputError, PreferencePair, Segment, Step, Trajectory
from pluralign.core.digests import digest

R = TypeVar("R")


class DecisionIndex:
    """Numbers distinct decisions in order of first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.decisions: list[Decision] = []

    def number(self, decision: Decision) -> int:
        """Number of the decision; a new number if it has none yet."""
        known = self._numbers.setdefault(decision.key, len(self.decisions))
        if known == len(self.decisions):
            self.decisions.append(decision)
        return known


@dataclass(frozen=True, eq=False)
class TrajectoryTable:
    """Demonstrated steps.

    Args:
        states: Number of each step's decision, shape (steps,).
        actions: Index of the option taken, shape (steps,).
    """

    states: Int[Tensor, " steps"]
    actions: Int[Tensor, " steps"]

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True, eq=False)
class PairTable:
    """Preference pairs; the second axis holds chosen segments at index 0 and rejected ones at 1.

    Args:
        states: Number of each step's decision; padding repeats the segment's first step.
        actions: Index of the option taken.
        mask: True at steps, False at padding.
        weights: Probability that the label is right; 0.5 for a tie.
    """

    states: Int[Tensor, "pairs 2 steps"]
    actions: Int[Tensor, "pairs 2 steps"]
    mask: Bool[Tensor, "pairs 2 steps"]
    weights: Float[Tensor, " pairs"]

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def ties(self) -> int:
        """Number of pairs with an uninformative label (weight 0.5)."""
        return int((self.weights == 0.5).sum())


def encode_steps(steps: Iterable[Step], index: DecisionIndex) -> TrajectoryTable:
    """Steps as a table.

    Raises:
        InputError: There are no steps.
    """
    rows = [(index.number(step.decision), step.action) for step in steps]
    if not rows:
        raise InputError("there is no step to learn from")
    table = torch.tensor(rows)
    return TrajectoryTable(table[:, 0].contiguous(), table[:, 1].contiguous())


def encode_trajectories(trajectories: Iterable[Trajectory], index: DecisionIndex) -> TrajectoryTable:
    """All steps of all trajectories, in order.

    Raises:
        InputError: There are no steps, or an element is not a trajectory.
    """
    known = _of_kind(Trajectory, trajectories)
    return encode_steps((step for trajectory in known for step in trajectory.steps), index)


def encode_pairs(pairs: Sequence[PreferencePair], index: DecisionIndex) -> PairTable:
    """Pairs as a table, padded to the longest segment.

    Raises:
        InputError: There are no pairs, one is something else, or they have several objectives.
    """
    pairs = _of_kind(PreferencePair, pairs)
    if not pairs:
        raise InputError("there is no preference pair to learn from")
    objectives = sorted({pair.objective for pair in pairs})
    if len(objectives) > 1:
        raise InputError(f"pairs of one objective are expected, found {', '.join(objectives)}")
    segments = [segment for pair in pairs for segment in (pair.chosen, pair.rejected)]
    longest = max(len(segment.steps) for segment in segments)
    rows = torch.tensor([_padded(segment, longest, index) for segment in segments])
    rows = rows.view(len(pairs), 2, longest, 3)
    return PairTable(
        states=rows[..., 0].contiguous(),
        actions=rows[..., 1].contiguous(),
        mask=rows[..., 2].bool(),
        weights=torch.tensor([pair.weight for pair in pairs], dtype=torch.float32),
    )


def steps_of_pairs(pairs: Sequence[PreferencePair]) -> Iterable[Step]:
    """Every step of the pairs' segments, once each, even if several pairs share it."""
    seen: set[tuple[str, int]] = set()
    for pair in pairs:
        for segment in (pair.chosen, pair.rejected):
            for place, step in enumerate(segment.steps, start=segment.start):
                if (segment.trajectory_id, place) not in seen:
                    seen.add((segment.trajectory_id, place))
                    yield step


def table_digest(tensors: Iterable[Tensor], decisions: Sequence[Decision]) -> str:
    """Digest of index tensors and of the decisions that they index, equal across processes."""

    def parts() -> Iterator[bytes]:
        for decision in decisions:
            yield decision.key.encode()
        for tensor in tensors:
            yield f"{tuple(tensor.shape)} {tensor.dtype}".encode()
            yield tensor.contiguous().numpy().tobytes()

    return digest(parts())


def _of_kind(kind: type[R], rows: Iterable[R]) -> list[R]:
    known = list(rows)
    for number, row in enumerate(known):
        if not isinstance(row, kind):
            raise InputError(f"expected a {kind.__name__}, found {row!r:.60}", row=number)
    return known


def _padded(segment: Segment, length: int, index: DecisionIndex) -> list[tuple[int, int, int]]:
    if not segment.steps:
        raise InputError(f"segment {segment.id!r} has no steps")
    rows = [(index.number(step.decision), step.action, 1) for step in segment.steps]
    # Padding repeats an existing step, so that no other decision needs a forward pass.
    return rows + [(rows[0][0], rows[0][1], 0)] * (length - len(rows))
