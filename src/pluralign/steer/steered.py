"""The steered policy of a story's policies, by values where all have them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pluralign.core import Policy, SteeringWeights
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.steered_policy import SteeredPolicy

if TYPE_CHECKING:
    from pluralign.steer.value_steered import ValueSteeredPolicy


def steered(
    policies: Mapping[str, Policy], weights: SteeringWeights, power: float = GEOMETRIC
) -> SteeredPolicy | ValueSteeredPolicy:
    """The steered policy of one policy per objective: by values where all have them, else by probabilities.

    Args:
        policies: Policies by objective.
        weights: Weights by objective.
        power: Exponent of the power mean of probabilities. Agents with values are mixed by their
            probabilities, too, if it is not the default.

    Raises:
        InputError: See `SteeredPolicy` and `ValueSteeredPolicy`.

    Examples:
        >>> import pluralign as pl
        >>> agents = {"score": pl.UniformPolicy(), "harm_avoidance": pl.UniformPolicy()}
        >>> pl.steered(agents, pl.SteeringWeights(score=0.3, harm_avoidance=0.7)).name
        'steered(score=0.3,harm_avoidance=0.7)'
    """
    # Where nothing has imported values yet, no policy has them, and torch is not needed.
    if "pluralign.options.values" not in sys.modules:
        return SteeredPolicy(policies, weights, power)
    from pluralign.options.values import ValuePolicy, for_objective
    from pluralign.steer.value_steered import ValueSteeredPolicy

    known = {name: policy for name, policy in policies.items() if isinstance(policy, ValuePolicy)}
    if known and len(known) == len(policies) and power == GEOMETRIC:
        return ValueSteeredPolicy(known, weights)
    alone = {name: for_objective(policy, name) for name, policy in policies.items()}
    return SteeredPolicy(alone, weights, power)
