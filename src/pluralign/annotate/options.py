"""Every pair of a decision's options as a comparison of two single steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from pluralign.core import Comparison, Decision, InputError, Segment, Step, Trajectory
from pluralign.core.splits import seed_for

OPTION = "option-"
"""Begins the trajectory that stands for a decision: its step k takes option k. So all options of a decision
are in one split, whoever took them, and a comparison has one id however many episodes were collected."""

Taken = Mapping[tuple[str, int], Step]
"""The step of each option that was taken, by the decision's key and the option's index."""


def compare_options(trajectories: Sequence[Trajectory], *, count: int, seed: int) -> list[Comparison]:
    """Every pair of options of every decision that has two or more, in the order in which decisions appear.

    Where an episode took an option, its step stands for it, without what followed: an option that nobody took
    has nothing that followed.

    Args:
        trajectories: in the order that decides what appears first.
        count: how many at most. Decisions are taken with all their pairs, those of most episodes first; one
            whose pairs are more than are left is passed over.
        seed: of which option is listed first.

    Raises:
        InputError: an argument is out of range, no decision has two options, or ``count`` is too small.
    """
    if count < 1 or seed < 0:
        raise InputError(
            "expected a count of one or more and a seed that is not negative; "
            f"found count {count}, seed {seed}"
        )
    decisions = {step.decision.key: step.decision for t in trajectories for step in t.steps}
    open_ = {key: decision for key, decision in decisions.items() if len(decision.options) > 1}
    if not open_:
        raise InputError(
            f"nothing to compare in {len(trajectories)} trajectories: no decision has two options"
        )
    kept = _most_met(open_, trajectories, count)
    if not kept:
        fewest = min(map(_pairs, open_.values()))
        raise InputError(f"must be {fewest} or more, the pairs of one decision, found {count}", field="count")
    taken = steps_taken(trajectories)
    return [
        _comparison(decision, pair, taken, seed)
        for key, decision in open_.items()
        if key in kept
        for pair in combinations(range(len(decision.options)), 2)
    ]


def steps_taken(trajectories: Sequence[Trajectory]) -> Taken:
    """The first step that took each option. A last step of which an imported trajectory does not say what
    it did is left out."""
    taken: dict[tuple[str, int], Step] = {}
    for trajectory in trajectories:
        unknown = trajectory.info.get("last_step", "whole") != "whole"
        for step in trajectory.steps[:-1] if unknown else trajectory.steps:
            taken.setdefault((step.decision.key, step.action), step)
    return taken


def is_option(segment: Segment) -> bool:
    """Whether a segment is an option of a comparison that `compare_options` made."""
    return segment.trajectory_id.startswith(OPTION)


def _most_met(decisions: Mapping[str, Decision], trajectories: Sequence[Trajectory], count: int) -> set[str]:
    episodes = Counter(key for t in trajectories for key in {step.decision.key for step in t.steps})
    kept: set[str] = set()
    # The sort keeps the order of appearance among decisions that are met equally often.
    for key in sorted(decisions, key=lambda key: -episodes[key]):
        if _pairs(decisions[key]) <= count:
            kept.add(key)
            count -= _pairs(decisions[key])
    return kept


def _pairs(decision: Decision) -> int:
    options = len(decision.options)
    return options * (options - 1) // 2


def _comparison(decision: Decision, pair: tuple[int, int], taken: Taken, seed: int) -> Comparison:
    first, second = (_segment(decision, action, taken) for action in pair)
    # By its own name, so that neither the count nor further episodes turn a pair around.
    turned = seed_for(f"{first.id}|{second.id}", seed) % 2
    return Comparison(second, first) if turned else Comparison(first, second)


def _segment(decision: Decision, action: int, taken: Taken) -> Segment:
    step = taken.get((decision.key, action), Step(decision, action))
    return Segment(f"{OPTION}{decision.key}", action, (replace(step, outcome=""),))
