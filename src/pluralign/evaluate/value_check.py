"""What a policy of values expects, compared with what it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pluralign.core import Trajectory
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import exact_returns
from pluralign.games.open import open_story
from pluralign.learn.options.q import belief
from pluralign.options.values import ValuePolicy


@dataclass(frozen=True)
class ValueCheck:
    """Expected and exact return of one objective.

    Args:
        belief: Return that the policy expects at the start.
        exact: Exact expected return of its choices.
    """

    belief: float
    exact: float


def check_values(policy: ValuePolicy, trajectories: Sequence[Trajectory]) -> dict[str, ValueCheck]:
    """Compare a policy's values at the start of a built-in story with its exact returns, by objective.

    A policy that expects more than it gets believes in options that were never tried.

    Args:
        policy: The policy.
        trajectories: Episodes that it was learned from. Nothing is compared unless all are of one built-in
            story.
    """
    sources = {trajectory.source for trajectory in trajectories}
    if len(sources) != 1 or not sources <= set(list_stories()):
        return {}
    story = open_story(sources.pop())
    known = [one for one in story.info.objectives if one.name in policy.objectives]
    expected = belief(policy, [trajectories[0].steps[0].decision])
    exact = exact_returns(story.make_game(), policy, known).objectives
    return {name: ValueCheck(expected[name], value) for name, value in exact.items()}
