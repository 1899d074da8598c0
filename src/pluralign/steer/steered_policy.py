"""A mixture of option policies under the user's weights, at inference time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core import Decision, InputError, Policy, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.interfaces import require_policy
from pluralign.steer.mixing import GEOMETRIC, mix_log_probs

_WHOLE = 1e-3
"""Largest distance of a policy's sum of probabilities from 1, which rounding may leave."""


@dataclass(frozen=True)
class Blend:
    """Probabilities of one decision, for interactive pages and reports.

    Args:
        decision: The decision.
        weights: Weights by objective.
        probabilities: Probabilities of each objective's policy, shape (options,); each sums to one.
        mixed: Probabilities of the mixture, shape (options,).
    """

    decision: Decision
    weights: SteeringWeights
    probabilities: Mapping[str, FloatArray]
    mixed: FloatArray


class SteeredPolicy:
    """Mixture of one policy per objective: ``pi = M_p(pi_1, ..., pi_N; w)``, normalised.

    Source: poster, eq. 3 (``power=1``); `mix_log_probs` has the other powers. A policy of weight zero is
    never evaluated.

    Args:
        policies: Policies by objective, any number of them.
        weights: Weights by objective; a missing objective has weight zero.
        power: Exponent of the mean; 1 adds probabilities, 0 (the default, which measures better,
            docs/papers.md) adds log-probabilities.
        name: Name in reports; derived from the weights by default.

    Raises:
        InputError: There are no policies, a weight names an objective without a policy, or the power is NaN.

    Examples:
        >>> import pluralign as pl
        >>> agents = {"score": pl.UniformPolicy(), "kindness": pl.UniformPolicy()}
        >>> steered = pl.SteeredPolicy(agents, pl.SteeringWeights(score=0.3, kindness=0.7))
        >>> steered.log_probs([pl.Decision("Say:", ("a", "b"))])[0].round(3).tolist()
        [-0.693, -0.693]
    """

    @checked
    def __init__(
        self,
        policies: Mapping[str, Policy],
        weights: SteeringWeights,
        power: float = GEOMETRIC,
        name: str | None = None,
    ) -> None:
        if not policies:
            raise InputError("a steered policy needs at least one policy", field="policies")
        for objective, policy in policies.items():
            require_policy(policy, f"policies.{objective}")
        if math.isnan(power):
            raise InputError("must be a number, found nan", field="power")
        weights.require_known(list(policies))
        self.policies = dict(policies)
        self.weights = weights
        self.power = power
        self._name = name

    @property
    def name(self) -> str:
        """Name in reports."""
        if self._name is not None:
            return self._name
        parts = ",".join(f"{o}={self.weights.get(o, 0.0):g}" for o in self.policies)
        return f"steered({parts})"

    def with_weights(self, weights: SteeringWeights) -> SteeredPolicy:
        """The same policies under other weights."""
        return SteeredPolicy(self.policies, weights, self.power, self._name)

    def log_probs(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """See `Policy.log_probs`.

        Raises:
            InputError: A policy's output does not match the decisions, or the mixture cannot be normalised.
        """
        used = self._used()
        answers = {o: _ask(o, self.policies[o], decisions) for o in used}
        weights = [self.weights[o] for o in used]
        return [
            mix_log_probs(np.stack([answers[o][i] for o in used]), weights, self.power)
            for i in range(len(decisions))
        ]

    def blend(self, decision: Decision, *, with_unweighted: bool = False) -> Blend:
        """The mixture for one decision, with the probabilities of each policy.

        Args:
            decision: The decision.
            with_unweighted: Whether to evaluate policies of weight zero as well, for display; the mixture
                does not change.
        """
        used = self._used()
        asked = list(self.policies) if with_unweighted else used
        answers = {o: _ask(o, self.policies[o], [decision])[0] for o in asked}
        rows = np.stack([answers[o] for o in used])
        mixed = np.exp(mix_log_probs(rows, [self.weights[o] for o in used], self.power))
        return Blend(decision, self.weights, {o: np.exp(row) for o, row in answers.items()}, mixed)

    def _used(self) -> list[str]:
        return [o for o in self.policies if self.weights.get(o, 0.0) > 0.0]


def _ask(objective: str, policy: Policy, decisions: Sequence[Decision]) -> list[FloatArray]:
    answer = [np.asarray(row, dtype=np.float64) for row in policy.log_probs(decisions)]
    shapes = [row.shape for row in answer]
    expected = [(len(d.options),) for d in decisions]
    if shapes != expected:
        raise InputError(
            f"policy '{policy.name}' of objective '{objective}' must give one log-probability for each "
            f"option: expected shapes {expected[:3]}, found {shapes[:3]}"
        )
    for row in answer:
        if not abs(total := float(np.exp(row).sum()) - 1.0) <= _WHOLE:
            raise InputError(
                f"policy '{policy.name}' of objective '{objective}' must give log-probabilities; its "
                f"probabilities sum to {1.0 + total:g}, not 1"
            )
    return answer
