"""The weighting of a policy gradient that fits weights, targets, and a rule by which weights move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from pluralign.core import InputError, SteeringWeights
from pluralign.core.checks import checked
from pluralign.core.level import Level
from pluralign.learn.constraints import Constrained
from pluralign.learn.suggested import Suggested
from pluralign.learn.weighting import ByHypervolume, ByInfluence, Fixed, Weighting

Adapt = Literal["none", "influence", "hypervolume"]
"""Rules by which weights move in training."""
Targets = Mapping[str, Level | float | str]
"""Target on the mean reward of each objective: a level, a number, or a text such as "+0.5sd"."""


@checked
def make_weighting(
    objectives: Sequence[str], weights: Mapping[str, float] | Suggested | None = None, *,
    adapt: Adapt = "none", rate: float = 0.1, at_least: Targets | None = None, at_most: Targets | None = None,
    exactly: Targets | None = None,
) -> Weighting:  # fmt: skip
    """The weighting for weights, for targets, or for both.

    Examples:
        >>> make_weighting(["kind", "brief"], {"kind": 1.0}).describe()
        {'kind': 'fixed', 'weights': {'kind': 1.0, 'brief': 0.0}}
        >>> make_weighting(["kind", "brief"], at_least={"brief": "+0.5sd"}).objectives
        ('kind', 'brief')

    Args:
        objectives: Objectives of the rewards.
        weights: Weights by objective, those left out being 0; suggestions that depend on the prompt; or None
            if there are targets only.
        adapt: Whether and how weights move.
        rate: Step size of weights that move by influence, and of the multipliers of targets.
        at_least: Smallest acceptable mean rewards.
        at_most: Largest acceptable mean rewards.
        exactly: Required mean rewards.

    Raises:
        InputError: There are neither weights nor targets, two of these ways are combined that cannot be, an
            objective is unknown, or a target is no level.
    """
    least, most = _levels(at_least, "at_least"), _levels(at_most, "at_most")
    exact = _levels(exactly, "exactly")
    targets = bool(least or most or exact)
    constrained = partial(Constrained, objectives, at_least=least, at_most=most, exactly=exact, rate=rate)
    if targets and adapt != "none":
        raise InputError("targets move the weights themselves", field="adapt")
    if weights is None:
        if not targets:
            raise InputError("give weights, or a target such as --at-least NAME=+0.5sd", field="weights")
        return constrained()
    if isinstance(weights, Suggested):
        if targets or adapt != "none":
            raise InputError(
                "depend on the prompt, and neither targets nor --adapt can move them", field="weights"
            )
        return weights
    given = SteeringWeights(weights)
    given.require_known(objectives)
    whole = SteeringWeights({name: given.get(name, 0.0) for name in objectives})
    if targets:
        return constrained(weights=whole)
    if adapt == "influence":
        return ByInfluence(whole, rate=rate)
    return ByHypervolume(whole) if adapt == "hypervolume" else Fixed(whole)


def _levels(given: Targets | None, field: str) -> dict[str, Level]:
    return {
        name: level if isinstance(level, Level) else Level.parse(str(level), name, field)
        for name, level in (given or {}).items()
    }
