"""Comparisons of segments of trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Literal

import numpy as np

from pluralign.core import Comparison, InputError, Segment, Trajectory
from pluralign.core.checks import checked

Anchor = Literal["same_decision", "any"]
Group = Callable[[str], str]
TRIES = 32
"""Number of failed draws in a row before the remaining pairs are enumerated."""


@checked
def make_comparisons(
    trajectories: Sequence[Trajectory],
    *,
    count: int,
    seed: int,
    length: int | None = None,
    anchor: Anchor = "same_decision",
    group: Group | None = None,
) -> list[Comparison]:
    """Draw distinct comparisons, each between segments of two different trajectories.

    ``same_decision``: both segments begin at the same decision and take different options. Decisions are
    visited in turn, so that one that few episodes reach is covered as well as the first one. In a
    deterministic game, segments from one state to the end of the episode differ in return by exactly as much
    as in regret (both are measured against the same optimal value). Contrastive preference learning assumes
    labels by regret; hence the default length.

    ``any``: both segments begin at any step; they are whole episodes if ``length`` is None.

    Args:
        trajectories: Trajectories, in any order.
        count: Number of comparisons to draw; the result has fewer if there are fewer.
        seed: Random seed of the draw, and of which segment is listed first.
        length: Steps in a segment (fewer if the episode ends before); None extends it to the episode's end.
        anchor: Place where segments start; see above.
        group: Function from a trajectory's id to its group. Segments of different groups are not compared.
            Each group has the same share of the comparisons as of the trajectories until its pairs are
            exhausted. With the split as the group (`pluralign.core.splits.split_of`), no comparison is lost
            to splitting.

    Raises:
        InputError: An argument is out of range, two trajectories share an id, or there is nothing to compare.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> played = list(pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=20, seed=0, objectives=[]))
        >>> len(pl.make_comparisons(played, count=5, seed=0))
        5
    """
    if count < 1 or (length is not None and length < 1) or seed < 0:
        raise InputError(
            f"expected a count and length of one or more and a seed that is not negative; "
            f"found count {count}, length {length}, seed {seed}"
        )
    ordered = sorted(trajectories, key=lambda t: t.id)
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise InputError(f"two trajectories have the id {one.id!r}", field="id")
    rng = np.random.default_rng(seed)
    group = group or (lambda _: "")
    match anchor:
        case "same_decision":
            drawn = _same_decision(ordered, count, rng, length, group)
            hint = "no two trajectories take different options at the same decision"
        case "any":
            drawn = _any(ordered, count, rng, length, group)
            hint = "no group has two trajectories"
    if not drawn:
        raise InputError(f"nothing to compare in {len(ordered)} trajectories: {hint}")
    # The order within a pair is random too, so that position carries no label information.
    return [Comparison(b, a) if rng.random() < 0.5 else Comparison(a, b) for a, b in drawn]


Visit = tuple[int, int]
"""Index of a trajectory and of a step."""


def _same_decision(
    ordered: Sequence[Trajectory], count: int, rng: np.random.Generator, length: int | None, group: Group
) -> list[tuple[Segment, Segment]]:
    visits: dict[str, dict[str, dict[int, list[Visit]]]] = {}
    for index, trajectory in enumerate(ordered):
        by_decision = visits.setdefault(group(trajectory.id), {})
        for place, step in enumerate(trajectory.steps):
            by_action = by_decision.setdefault(step.decision.key, {})
            by_action.setdefault(step.action, []).append((index, place))
    sizes = Counter(group(trajectory.id) for trajectory in ordered)
    turns = {
        name: _turns([_pairs_at(list(a.values()), rng) for a in found.values() if len(a) > 1], rng)
        for name, found in visits.items()
    }
    taken: Counter[str] = Counter()
    drawn: list[tuple[Segment, Segment]] = []
    while turns and len(drawn) < count:
        # Groups take turns in proportion to their size, so that every prefix of the draws has the same
        # shares.
        name = min(turns, key=lambda g: (taken[g] + 1) / sizes[g])
        pair = next(turns[name], None)
        if pair is None:
            del turns[name]
            continue
        taken[name] += 1
        (a, start_a), (b, start_b) = pair
        drawn.append((_cut(ordered[a], start_a, length), _cut(ordered[b], start_b, length)))
    return drawn


def _turns(
    draws: list[Iterator[tuple[Visit, Visit]]], rng: np.random.Generator
) -> Iterator[tuple[Visit, Visit]]:
    """One pair from each decision in random order, repeated until all pairs are used."""
    while draws:
        left: list[Iterator[tuple[Visit, Visit]]] = []
        for i in map(int, rng.permutation(len(draws))):
            pair = next(draws[i], None)
            if pair is not None:
                left.append(draws[i])
                yield pair
        draws = left


def _pairs_at(by_action: list[list[Visit]], rng: np.random.Generator) -> Iterator[tuple[Visit, Visit]]:
    """All pairs of visits with different actions in different trajectories, in random order. Actions are
    drawn first, so that a rare action is compared as often as a common one."""
    seen: set[tuple[Visit, Visit]] = set()

    def new(one: Visit, other: Visit) -> tuple[Visit, Visit] | None:
        pair = (one, other) if one < other else (other, one)
        if one[0] == other[0] or pair in seen:
            return None
        seen.add(pair)
        return pair

    failures = 0
    while failures < TRIES:
        x, y = map(int, rng.choice(len(by_action), size=2, replace=False))
        one = by_action[x][int(rng.integers(len(by_action[x])))]
        other = by_action[y][int(rng.integers(len(by_action[y])))]
        pair = new(one, other)
        if pair is None:
            failures += 1
        else:
            failures = 0
            yield pair
    rest = [(one, other) for xs, ys in combinations(by_action, 2) for one in xs for other in ys]
    for i in map(int, rng.permutation(len(rest))):
        pair = new(*rest[i])
        if pair is not None:
            yield pair


def _any(
    ordered: Sequence[Trajectory], count: int, rng: np.random.Generator, length: int | None, group: Group
) -> list[tuple[Segment, Segment]]:
    groups: dict[str, list[int]] = {}
    for index, trajectory in enumerate(ordered):
        groups.setdefault(group(trajectory.id), []).append(index)
    members = [m for m in groups.values() if len(m) > 1]
    if not members:
        return []
    # On average, the number of draws from a group is proportional to its number of trajectories.
    shares = np.array([len(m) for m in members]) / sum(len(m) for m in members)
    drawn: dict[tuple[Visit, Visit], None] = {}
    failures = 0
    while len(drawn) < count and failures < TRIES * len(ordered):
        inside = members[rng.choice(len(members), p=shares)]
        one, other = sorted(_start(ordered, inside[i], length, rng) for i in _two_of(len(inside), rng))
        failures = failures + 1 if (one, other) in drawn else 0
        drawn[one, other] = None
    return [
        (_cut(ordered[a], start_a, length), _cut(ordered[b], start_b, length))
        for (a, start_a), (b, start_b) in drawn
    ]


def _two_of(size: int, rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(size))
    second = int(rng.integers(size - 1))
    return first, second + (second >= first)


def _start(ordered: Sequence[Trajectory], index: int, length: int | None, rng: np.random.Generator) -> Visit:
    places = 1 if length is None else max(1, len(ordered[index].steps) - length + 1)
    return index, int(rng.integers(places))


def _cut(trajectory: Trajectory, start: int, length: int | None) -> Segment:
    return trajectory.segment(start, None if length is None else start + length)
