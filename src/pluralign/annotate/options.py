"""Every pair of a decision's options as a comparison of two single steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean

from pluralign.core import Comparison, Decision, InputError, Segment, Step, Trajectory, sum_by_name
from pluralign.core.option_segments import option_segment
from pluralign.core.returns import last_reward_known
from pluralign.core.splits import seed_for

Taken = Mapping[tuple[str, int], Step]
"""Step of each option that was taken, by decision key and option index; the mean of several steps."""


def compare_options(trajectories: Sequence[Trajectory], *, count: int, seed: int) -> list[Comparison]:
    """Every pair of options of every decision with at least two options, in order of appearance.

    If episodes took an option, the mean of their steps represents it, without the steps that followed: an
    option that was never taken has no following steps.

    Args:
        trajectories: Trajectories; their order determines the order of appearance.
        count: Maximum number of comparisons. Decisions are included with all their pairs, those of most
            episodes first; a decision with more pairs than remain is skipped.
        seed: Random seed of the order of options within a pair.

    Raises:
        InputError: An argument is out of range, no decision has two options, or ``count`` is too small.
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
        comparison
        for key, decision in open_.items()
        if key in kept
        for comparison in option_pairs(decision, seed, taken)
    ]


def option_pairs(decision: Decision, seed: int, taken: Taken | None = None) -> list[Comparison]:
    """Every pair of a decision's options.

    Args:
        decision: The decision.
        seed: Random seed of the order of options within a pair.
        taken: Steps that took options; those of others have no counts and no rewards.
    """
    pairs = combinations(range(len(decision.options)), 2)
    return [_comparison(decision, pair, taken or {}, seed) for pair in pairs]


def steps_taken(trajectories: Sequence[Trajectory]) -> Taken:
    """The mean of the steps that took each option: the same page may be shown in several states.

    The last step of an imported trajectory is skipped if its counts are unknown.
    """
    taken: dict[tuple[str, int], list[Step]] = {}
    for trajectory in trajectories:
        for step in trajectory.steps if last_reward_known(trajectory) else trajectory.steps[:-1]:
            taken.setdefault((step.decision.key, step.action), []).append(step)
    return {option: _mean(steps) for option, steps in taken.items()}


def _mean(steps: Sequence[Step]) -> Step:
    first = steps[0]
    if all((step.rewards, step.counts) == (first.rewards, first.counts) for step in steps):
        return first
    counts = sum_by_name([step.counts for step in steps])
    recorded = [name for name in first.rewards if all(name in step.rewards for step in steps)]
    return replace(
        first,
        rewards={name: fmean(step.rewards[name] for step in steps) for name in recorded},
        counts={name: total / len(steps) for name, total in counts.items()},
    )


def _most_met(decisions: Mapping[str, Decision], trajectories: Sequence[Trajectory], count: int) -> set[str]:
    episodes = Counter(key for t in trajectories for key in {step.decision.key for step in t.steps})
    kept: set[str] = set()
    # The sort preserves the order of appearance among decisions with equally many episodes.
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
    # Seeded by the pair's own name, so that neither the count nor further episodes change its order.
    turned = seed_for(f"{first.id}|{second.id}", seed) % 2
    return Comparison(second, first) if turned else Comparison(first, second)


def _segment(decision: Decision, action: int, taken: Taken) -> Segment:
    return option_segment(taken.get((decision.key, action), Step(decision, action)))
