"""Weights of objectives in a policy gradient: fixed, or moving in training.

`learn.suggested.Suggested`, whose weights depend on the prompt, and `learn.constraints.Constrained`, whose
weights are multipliers of targets, are weightings as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError, SteeringWeights
from pluralign.core.checks import require_at_least
from pluralign.core.pareto import hypervolume
from pluralign.lm.tensors import to_list
from pluralign.losses.advantages import Rewards, Weights, influences
from pluralign.rewards.value_model import RewardScale

BELOW = 1.0
"""Distance of the reference point below the policy before training, in standard deviations of each reward."""


@dataclass(frozen=True, eq=False)
class Observed:
    """Rewards of samples of the current policy.

    Args:
        rewards: Rewards in their own units.
        scales: Scale of each objective, measured once on the first draw.
        held_out: Whether the samples were drawn for measurement, after a round, instead of for training.
    """

    rewards: Rewards
    scales: Sequence[RewardScale]
    held_out: bool = False

    @property
    def standardised(self) -> Rewards:
        """Rewards as distances from the first draw's mean, in its standard deviations."""
        means, deviations = (
            torch.tensor([getattr(scale, name) for scale in self.scales], dtype=self.rewards.dtype)
            for name in ("mean", "deviation")
        )
        return (self.rewards - means) / deviations


@runtime_checkable
class Weighting(Protocol):
    """Weights of objectives for each prompt, with a state if they move."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives, in the order of the weights."""
        ...

    @property
    def plain_sum_only(self) -> str:
        """Reason that advantages have to be the plain weighted sum; empty if any combination will do."""
        ...

    def weights(self, prompts: Sequence[str]) -> Weights:
        """Weights of standardised rewards, shape (prompts, objectives), float64."""
        ...

    def observe(self, step: Observed) -> None:
        """Take note of samples: of every batch in training, and of held-out ones before and after rounds."""
        ...

    def describe(self) -> dict[str, Any]:
        """Kind and settings, as JSON values; a run with others is another run."""
        ...

    def state(self) -> dict[str, Any]:
        """What `observe` changed, as JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Return to a saved state."""
        ...


class Constant:
    """A weighting that no sample changes."""

    plain_sum_only = ""

    def observe(self, step: Observed) -> None:
        """See `Weighting.observe`."""

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.restore`."""


@final
class Fixed(Constant):
    """The same weights for all prompts and steps.

    Args:
        weights: Weights by objective.
    """

    def __init__(self, weights: SteeringWeights) -> None:
        self.objectives = tuple(weights)
        self._row, self._given = as_row(weights), dict(weights)

    def weights(self, prompts: Sequence[str]) -> Weights:
        """See `Weighting.weights`."""
        return self._row.expand(len(prompts), -1)

    def describe(self) -> dict[str, Any]:
        """See `Weighting.describe`."""
        return {"kind": "fixed", "weights": self._given}


@final
class ByInfluence:
    """Weights that grow with an objective's influence on all objectives: after every batch w_j is
    proportional to w_j exp(rate I_j) (dynamic reward weighting, Lu et al. 2025, eq. 3), I by covariances
    within groups (`losses.advantages.influences`).

    Args:
        weights: Weights at the start.
        rate: Step size (eta / mu of the paper's code: 0.1).
    """

    plain_sum_only = ""

    def __init__(self, weights: SteeringWeights, *, rate: float = 0.1) -> None:
        require_at_least(0, rate=rate)
        self.objectives = tuple(weights)
        self.rate, self._row, self._given = rate, as_row(weights), dict(weights)

    def weights(self, prompts: Sequence[str]) -> Weights:
        """See `Weighting.weights`."""
        return self._row.expand(len(prompts), -1)

    def observe(self, step: Observed) -> None:
        """See `Weighting.observe`; held-out samples change nothing."""
        if not step.held_out:
            self._row = weights_by_influence(self._row, influences(step.standardised), self.rate)

    def describe(self) -> dict[str, Any]:
        """See `Weighting.describe`."""
        return {"kind": "influence", "weights": self._given, "rate": self.rate}

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {"weights": to_list(self._row)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.restore`."""
        self._row = torch.tensor(state["weights"], dtype=torch.float64)


@final
class ByHypervolume:
    """Weights that all grow while the policy still adds to the hypervolume of the points that it has reached
    (dynamic reward weighting, Lu et al. 2025, eq. 1): times 0.5 + 1.5 tanh of the hypervolume that the last
    held-out samples added.

    Objectives are in standard deviations of the first draw, and the reference point is `BELOW` of them below
    the policy before training, so that units do not matter and no point has a negative volume.

    Args:
        weights: Weights before the factor.
    """

    plain_sum_only = "the factor of weights by hypervolume"

    def __init__(self, weights: SteeringWeights) -> None:
        self.objectives = tuple(weights)
        self.factor, self._row, self._given = 1.0, as_row(weights), dict(weights)
        self._points: list[list[float]] = []

    def weights(self, prompts: Sequence[str]) -> Weights:
        """See `Weighting.weights`."""
        return (self.factor * self._row).expand(len(prompts), -1)

    def observe(self, step: Observed) -> None:
        """See `Weighting.observe`; the first held-out samples are those of the policy before training."""
        if not step.held_out:
            return
        point: list[float] = to_list(step.standardised.mean(dim=(0, 1)))
        if not self._points:
            self._points = [point]
            return
        reference = np.array(self._points[0]) - BELOW
        gain = hypervolume([*self._points, point], reference) - hypervolume(self._points, reference)
        self.factor = hypervolume_factor(gain)
        if gain > 0:
            self._points.append(point)

    def describe(self) -> dict[str, Any]:
        """See `Weighting.describe`."""
        return {"kind": "hypervolume", "weights": self._given}

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {"factor": self.factor, "points": self._points}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.restore`."""
        self.factor = float(state["factor"])
        self._points = [[float(value) for value in point] for point in state["points"]]


def weights_by_influence(
    weights: Float[Tensor, " objectives"], influence: Float[Tensor, " objectives"], rate: float
) -> Float[Tensor, " objectives"]:
    """Weights in proportion to w_j exp(rate I_j), summing to one.

    Args:
        weights: Weights, not negative.
        influence: Influence of each objective.
        rate: Step size.
    """
    # Differences, so that the largest exponent is 0.
    grown = weights * torch.exp(rate * (influence - influence.max()))
    return grown / grown.sum()


def hypervolume_factor(gain: float) -> float:
    """0.5 + 1.5 tanh(gain): 0.5 where nothing is added, at most 2.

    Args:
        gain: Hypervolume that a point adds, not negative.
    """
    return 0.5 + 1.5 * float(np.tanh(gain))


def as_row(weights: SteeringWeights) -> Float[Tensor, " objectives"]:
    """Weights in their own order, float64."""
    return torch.tensor(list(weights.values()), dtype=torch.float64)


def require_objectives(weighting: Weighting, rewards: Sequence[str]) -> None:
    """Check that every reward has a weight and every weight a reward.

    Raises:
        InputError: This is no weighting, a name occurs twice, an objective has no reward, or a reward no
            objective.
    """
    if not isinstance(weighting, Weighting):
        raise InputError(f"expected a weighting such as Fixed, found {weighting!r:.60}", field="weighting")
    if len(set(rewards)) < len(rewards):
        raise InputError(f"expected different objectives, found {', '.join(rewards)}", field="objectives")
    if unknown := sorted(set(weighting.objectives) ^ set(rewards)):
        raise InputError(
            f"expected weights of {', '.join(rewards)}, found {', '.join(weighting.objectives)} "
            f"('{unknown[0]}' is in one of them only)",
            field="weights",
        )
