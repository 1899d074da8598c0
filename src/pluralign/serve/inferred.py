"""Default weights that were inferred from choices, and decisions that they leave open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError
from pluralign.core.choice import Question
from pluralign.elicit.posterior import WeightPosterior
from pluralign.elicit.verdict import decide

# Probability below which options count alike, so that values are finite.
_LEAST = 1e-12
_MOST_POWER = 10


def require_served(objectives: Sequence[str], served: Mapping[str, Sequence[str]], field: str) -> None:
    """Check that policies for exactly these objectives are served.

    Args:
        objectives: Objectives of questions or weights.
        served: Objectives of the policies, by what they are served for.
        field: Option that gave the objectives.

    Raises:
        InputError: Nothing that is served has these objectives.
    """
    if any(set(objectives) == set(names) for names in served.values()):
        return
    known = "; ".join(f"{noun}: {', '.join(names)}" for noun, names in served.items())
    raise InputError(f"is for {', '.join(objectives)}; served are {known}", field=field)


def intervals_of(posterior: WeightPosterior, names: Sequence[str]) -> dict[str, list[float]]:
    """90 % intervals of the weights, in the order of these objectives."""
    return {name: list(posterior.interval(name)) for name in names}


def describe_inferred(inferred: WeightPosterior) -> list[str]:
    """Sentences about default weights that were inferred: means, intervals, and what their scales mean."""
    ends = {name: inferred.interval(name) for name in inferred.objectives}
    parts = [f"{name} {inferred.mean[name]:.2f} ({a:.2f} to {b:.2f})" for name, (a, b) in ends.items()]
    sentences = [f"default weights, inferred from {inferred.answers} answers: {', '.join(parts)}"]
    if any(scale != 1 for scale in inferred.scales.values()):
        sentences.append(
            "their values have scales other than 1, so they are weights of rewards or attributes, and only "
            "approximately those of a mixture (docs/weights.md)"
        )
    return sentences


class StoryVerdicts:
    """Whether inferred weights decide between the options of a story.

    The weights act as those of a mixture: on the log-probabilities of the policies, whose scale is 1, or on
    powers of the probabilities if the mixture's power is not 0.

    Args:
        inferred: Posterior of the weights.
        power: Exponent of the power mean that mixes the policies.

    Raises:
        InputError: The power is too large for sums of powers.
    """

    def __init__(self, inferred: WeightPosterior, power: float) -> None:
        if not abs(power) <= _MOST_POWER:
            raise InputError(
                f"must be from -{_MOST_POWER} to {_MOST_POWER} with inferred weights, found {power}",
                field="power",
            )
        self._inferred = replace(inferred, scales=dict.fromkeys(inferred.objectives, 1.0))
        self._power = power

    def of(self, decision: Decision, probabilities: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
        """Fields of the response at a decision: whether weights decide, and the options that they leave.

        Args:
            decision: The decision.
            probabilities: Probabilities of each objective's policy, shape (options,).
        """
        if len(decision.options) == 1:
            return {"decided": True, "undominated": [0]}
        values = {name: self._values(probabilities[name]) for name in self._inferred.objectives}
        own = tuple(
            {name: float(row[place]) for name, row in values.items()}
            for place in range(len(decision.options))
        )
        verdict = decide(self._inferred, Question(decision, own))
        return {"decided": verdict.decided, "undominated": list(verdict.undominated)}

    def _values(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        known = np.maximum(probabilities, _LEAST)
        return np.log(known) if self._power == 0 else math.copysign(1, self._power) * known**self._power
