"""The posterior of a person's weights, given choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked, require_seed
from pluralign.core.choice import Choice
from pluralign.elicit.choice_data import (
    ChoiceData,
    choice_data,
    count_answers,
    objectives_of,
    per_owner,
    value_scales,
)
from pluralign.elicit.explanation import Explanation, explain
from pluralign.elicit.prior import SimplexPrior, WeightPrior
from pluralign.elicit.sampling import Draws, Target, sample
from pluralign.losses.choice import choice_log_likelihood

LAPSE = 0.02
"""Probability of an answer at random."""
MASS = 0.9
"""Posterior mass of intervals."""
# Draws with fewer effective samples are reported.
FEW_EFFECTIVE = 400


@dataclass(frozen=True, eq=False)
class WeightPosterior:
    """Distribution of the weights of a person, an agent or a model, given choices.

    Args:
        objectives: Objectives, in the order of the columns.
        scales: Unit of each objective's values; the weights are those of values in these units.
        theta: Draws of decisiveness x weights, shape (draws, objectives).
        tie_log: Draws of log nu, the tendency to answer "about the same", shape (draws,); None if that was
            not offered.
        shares: Posterior probability of each draw, shape (draws,); they sum to one.
        log_posterior: Log-density of each draw, up to a constant, shape (draws,).
        log_evidence: Log of the probability of all answers under the prior.
        effective_samples: Effective number of draws; estimates from fewer than 400 are rough.
        prior: Prior of the weights.
        lapse: Probability of an answer at random.
        answers: Number of answers; the parts of one (`Choice.part_of`) are one.

    Examples:
        >>> import pluralign as pl
        >>> flat = pl.infer_weights([], ["kind", "useful"])
        >>> flat.interval("kind")[0] < 0.1 < 0.9 < flat.interval("kind")[1]
        True
    """

    objectives: tuple[str, ...]
    scales: Mapping[str, float]
    theta: FloatArray
    tie_log: FloatArray | None
    shares: FloatArray
    log_posterior: FloatArray
    log_evidence: float
    effective_samples: float
    prior: WeightPrior
    lapse: float
    answers: int
    _data: ChoiceData | None

    @cached_property
    def weights(self) -> FloatArray:
        """Draws of weights on the simplex, shape (draws, objectives)."""
        return self.theta / self.theta.sum(axis=1, keepdims=True)

    @cached_property
    def mean(self) -> SteeringWeights:
        """Posterior mean of the weights."""
        mean = self.shares @ self.weights
        return SteeringWeights(dict(zip(self.objectives, (mean / mean.sum()).tolist(), strict=True)))

    @property
    def parameters(self) -> FloatArray:
        """Draws of all parameters of the utility, shape (draws, parameters): theta, and log nu last."""
        return self.theta if self.tie_log is None else np.column_stack([self.theta, self.tie_log])

    def interval(self, objective: str, mass: float = MASS) -> tuple[float, float]:
        """Central credible interval of an objective's weight.

        Args:
            objective: Name of the objective.
            mass: Posterior mass between the ends, between 0 and 1.

        Raises:
            InputError: There is no such objective, or the mass is not between 0 and 1.
        """
        if objective not in self.objectives:
            raise InputError(
                f"unknown objective {objective!r}; known: {', '.join(self.objectives)}", field="objective"
            )
        return self._interval(self.weights[:, self.objectives.index(objective)], mass)

    def decisiveness(self, mass: float = MASS) -> tuple[float, float, float]:
        """Posterior mean of the decisiveness, and the ends of its central credible interval."""
        totals = self.theta.sum(axis=1)
        return (float(self.shares @ totals), *self._interval(totals, mass))

    def draw(self, number: int, seed: int = 0) -> FloatArray:
        """Draws of all parameters with equal probabilities, shape (number, parameters).

        Args:
            number: Number of draws.
            seed: Random seed.
        """
        require_seed(seed)
        # One random number places all draws: systematic resampling keeps the shares best.
        places = (np.arange(number) + np.random.default_rng(seed).random()) / number
        index = np.searchsorted(np.cumsum(self.shares), places).clip(max=len(self.shares) - 1)
        return self.parameters[index]

    @cached_property
    def explains(self) -> Explanation | None:
        """How well weights explain the choices; None if there are no choices."""
        if self._data is None:
            return None
        return explain(self._data, self.objectives, self.parameters, self.shares, self.lapse)

    def _interval(self, values: FloatArray, mass: float) -> tuple[float, float]:
        if not 0 < mass < 1:
            raise InputError(f"must be between 0 and 1, found {mass}", field="mass")
        order = np.argsort(values)
        below = np.cumsum(self.shares[order]) - 0.5 * self.shares[order]
        low, high = np.interp([(1 - mass) / 2, (1 + mass) / 2], below, values[order])
        return float(low), float(high)

    def to_json(self, mass: float = MASS) -> dict[str, Any]:
        """Summary as a JSON object.

        Args:
            mass: Posterior mass of the intervals.
        """
        mean, low, high = self.decisiveness(mass)
        return {
            "weights": dict(self.mean),
            "intervals": {name: list(self.interval(name, mass)) for name in self.objectives},
            "mass": mass,
            "decisiveness": {"mean": mean, "interval": [low, high]},
            "scales": dict(self.scales),
            "answers": self.answers,
            "explains": None if self.explains is None else asdict(self.explains),
            "log_evidence": self.log_evidence,
            "effective_samples": self.effective_samples,
            "prior": self.prior.to_json(),
            "lapse": self.lapse,
        }


@checked
def infer_weights(
    choices: Sequence[Choice],
    objectives: Sequence[str] | None = None,
    *,
    prior: WeightPrior | None = None,
    scales: Mapping[str, float] | None = None,
    lapse: float = LAPSE,
    draws: int = 8192,
    seed: int = 0,
) -> WeightPosterior:
    """Infer weights from choices among options with known values.

    The model is a multinomial logit over weighted values with a decisiveness and lapses
    (`losses.choice`). A Student t distribution around the posterior's maximum is weighted by importance to
    the exact posterior.

    Args:
        choices: Choices of one person; without any, the posterior is the prior.
        objectives: Objectives, by default those of the first choice.
        prior: Prior of weights and decisiveness, by default `SimplexPrior`: weights uniform on the simplex.
        scales: Unit of each objective's values. By default the standard deviation between the options of one
            question (`value_scales`), so that weights can be compared; give the pool's if the choices are
            few, and 1 for log-probabilities of policies.
        lapse: Probability of an answer at random, from 0 to below 1.
        draws: Number of draws.
        seed: Random seed of the draws.

    Raises:
        InputError: Choices have other objectives, scales are not positive, or there is nothing to infer.

    Examples:
        >>> import pluralign as pl
        >>> said = pl.Decision("My cake fell.", ("Oh dear!", "Ovens differ; test yours."))
        >>> question = pl.Question(said, ({"kind": 1.0, "useful": 0.0}, {"kind": 0.0, "useful": 1.0}))
        >>> posterior = pl.infer_weights([pl.Choice(question, 0)] * 5)
        >>> posterior.mean["kind"] > 0.6
        True
    """
    require_seed(seed)
    if not 0 <= lapse < 1:
        raise InputError(f"must be at least 0 and below 1, found {lapse}", field="lapse")
    if draws < 2:
        raise InputError(f"must be at least 2, found {draws}", field="draws")
    for number, choice in enumerate(choices, start=1):
        if not isinstance(choice, Choice):
            raise InputError(f"expected a Choice, found {choice!r:.60}", row=number)
    questions = [choice.question for choice in choices]
    names = tuple(objectives) if objectives is not None else objectives_of(questions)
    if len(names) < 2:
        raise InputError(f"weights need at least two objectives, found {len(names)}", field="objectives")
    if questions and set(objectives_of(questions)) != set(names):
        raise InputError(
            f"the choices have values for {', '.join(objectives_of(questions))}, not for {', '.join(names)}",
            field="objectives",
        )
    units = _checked_scales(names, scales, questions)
    chosen_prior = prior or SimplexPrior()
    data = choice_data(choices, names, units) if choices else None
    target = Target(data, chosen_prior, len(names), lapse)
    drawn = sample(target, draws, seed, FEW_EFFECTIVE)
    return _posterior(names, units, target, drawn, count_answers(choices))


def _checked_scales(
    names: Sequence[str], scales: Mapping[str, float] | None, questions: Sequence[Any]
) -> dict[str, float]:
    if scales is None:
        return value_scales(questions) if questions else dict.fromkeys(names, 1.0)
    for name in names:
        scale = scales.get(name)
        if scale is None or not 0 < scale < math.inf:
            raise InputError(f"must be above 0 and finite, found {scale}", field=f"scales.{name}")
    return {name: float(scales[name]) for name in names}


def _posterior(
    names: tuple[str, ...], scales: Mapping[str, float], target: Target, drawn: Draws, answers: int
) -> WeightPosterior:
    parameters = target.parameters(drawn.coordinates)
    return WeightPosterior(
        names,
        dict(scales),
        parameters[:, : len(names)],
        parameters[:, len(names)] if target.ties else None,
        drawn.shares,
        drawn.log_posterior,
        drawn.log_evidence,
        drawn.effective,
        target.prior,
        target.lapse,
        answers,
        target.data,
    )


def log_likelihood(
    choices: Sequence[Choice],
    weights: SteeringWeights,
    decisiveness: float,
    *,
    scales: Mapping[str, float],
    lapse: float = LAPSE,
) -> FloatArray:
    """Log-likelihood of each choice under given weights, shape (choices,); rankings are sums.

    Args:
        choices: Choices without "about the same".
        weights: Weights of the objectives.
        decisiveness: Factor of the weighted values.
        scales: Unit of each objective's values.
        lapse: Probability of an answer at random.
    """
    names = objectives_of([choice.question for choice in choices])
    data = choice_data(choices, names, scales)
    theta = decisiveness * weights.aligned_to(names)[None]
    rows = data.weights * choice_log_likelihood(data.values, data.offered, data.chosen, theta, lapse)[0]
    return per_owner(data.choices, rows, len(choices))
