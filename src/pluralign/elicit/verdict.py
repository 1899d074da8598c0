"""Whether uncertain weights decide between options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.choice import Question
from pluralign.elicit.choice_data import scaled_values
from pluralign.elicit.posterior import WeightPosterior


@dataclass(frozen=True)
class Verdict:
    """What weights say about options.

    Args:
        chosen: Index of the best option under the mean weights.
        undominated: Indices of the options that no other is better than under all credible weights.
        decided: Whether there is only one of them.
        probabilities: Posterior probability that each option is the best, by index.
    """

    chosen: int
    undominated: tuple[int, ...]
    decided: bool
    probabilities: tuple[float, ...]


@checked
def decide(posterior: WeightPosterior, question: Question, *, alpha: float = 0.1) -> Verdict:
    """Choose among options, or say that the weights do not decide.

    Credible weights are the smallest set of draws of posterior mass 1 - alpha. An option is better than
    another if it is under all of them: a strict partial order (Eckersley 2018, "Impossibility and Uncertainty
    Theorems in AI Value Alignment", uses such orders). Probabilities of pairs give no order: at a threshold
    of 0.6 three options can form a cycle.

    Args:
        posterior: What is known about the weights.
        question: Options and their values for the posterior's objectives.
        alpha: Posterior mass of the weights that are ignored, between 0 and 1.

    Raises:
        InputError: Values for an objective are missing, or alpha is not between 0 and 1.

    Examples:
        >>> import pluralign as pl
        >>> said = pl.Decision("My cake fell.", ("Oh dear!", "Ovens differ; test yours."))
        >>> question = pl.Question(said, ({"kind": 1.0, "useful": 0.0}, {"kind": 0.0, "useful": 1.0}))
        >>> pl.decide(pl.infer_weights([pl.Choice(question, 0)]), question).decided
        False
    """
    if not 0 < alpha < 1:
        raise InputError(f"must be between 0 and 1, found {alpha}", field="alpha")
    missing = set(posterior.objectives) - set(question.objectives)
    if missing:
        raise InputError(f"has no value for {', '.join(sorted(missing))}", field="question")
    values = scaled_values(question, posterior.objectives, posterior.scales)
    order = np.argsort(-posterior.log_posterior, kind="stable")
    count = int(np.searchsorted(np.cumsum(posterior.shares[order]), 1 - alpha)) + 1
    better = dominance(posterior.weights[order[:count]], values)
    undominated = np.flatnonzero(~better.any(axis=0))
    utilities = posterior.weights @ values.T
    best = utilities >= utilities.max(axis=1, keepdims=True)
    probabilities = posterior.shares @ (best / best.sum(axis=1, keepdims=True))
    return Verdict(
        int((posterior.shares @ utilities).argmax()),
        tuple(undominated.tolist()),
        len(undominated) == 1,
        tuple(probabilities.tolist()),
    )


def dominance(weights: FloatArray, values: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each option (row) is better than each other one (column) under all weights.

    The relation is irreflexive and transitive, and the same for the convex hull of the weights.

    Args:
        weights: Weights, shape (draws, objectives).
        values: Values of the options, shape (options, objectives).
    """
    utilities = weights @ values.T
    # Option by option, as all differences of many options at once would fill the memory.
    return np.stack([(own - utilities.T).min(axis=1) > 0 for own in utilities.T])
