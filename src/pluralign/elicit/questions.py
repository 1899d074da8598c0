"""The question whose answer says most about a person's weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.choice import Question
from pluralign.elicit.choice_data import question_arrays
from pluralign.elicit.posterior import WeightPosterior
from pluralign.losses.choice import choice_probs

LEAST_INFORMATION = 0.02
"""Information of a question, in nats, below which asking it is hardly worth an answer."""
# Draws of the posterior that questions are rated by.
_DRAWS = 512
# Draws x questions x options held at once.
_AT_ONCE = 4_000_000
# The least probability that has a logarithm.
_TINY = np.finfo(np.float64).tiny
# log nu before anybody answered "about the same".
_TIE = math.log(0.5)


@dataclass(frozen=True)
class Suggestion:
    """A question to ask next.

    Args:
        question: The question.
        index: Its place in the pool.
        information: Expected decrease in the entropy of the weights' posterior, in nats.
        regret: Expected loss, by the person's own weights, of acting by their mean instead of knowing them:
            the mean over the pool, in standard deviations of the values.
    """

    question: Question
    index: int
    information: float
    regret: float

    @property
    def worth_asking(self) -> bool:
        """Whether the answer is expected to say anything."""
        return self.information >= LEAST_INFORMATION


@checked
def next_question(
    posterior: WeightPosterior,
    pool: Sequence[Question],
    *,
    asked: Collection[str] = (),
    dominated: bool = False,
    least_information: float = 0.0,
    seed: int = 0,
) -> Suggestion | None:
    """The question of a pool whose answer is expected to say most about the weights, per cost.

    The criterion is the mutual information of answer and weights (Biyik et al. 2019, "Asking Easy
    Questions"). Questions of which one option is the best by every objective are left out: their answers
    depend on decisiveness only.

    Args:
        posterior: What is known about the weights.
        pool: Questions with values for the posterior's objectives.
        asked: Keys of decisions (`Decision.key`) that are not asked again.
        dominated: Whether to include questions of which one option is the best by every objective.
        least_information: Information, in nats, below which a question is suggested only if all others have
            less, too, however little it costs.
        seed: Random seed, which decides between equal questions.

    Returns:
        The suggestion; None if no question is left.

    Raises:
        InputError: A question has no value for an objective of the posterior.

    Examples:
        >>> import pluralign as pl
        >>> def question(kind, useful):
        ...     said = pl.Decision(f"Choose ({kind}, {useful}).", ("first", "second"))
        ...     return pl.Question(said, ({"kind": kind, "useful": 0.0}, {"kind": 0.0, "useful": useful}))
        >>> pool = [question(1.0, 0.1), question(1.0, 1.0), question(0.1, 1.0)]
        >>> pl.next_question(pl.infer_weights([], ["kind", "useful"]), pool).index
        1
    """
    arrays = _arrays(posterior, pool, seed)
    done = set(asked)
    left = [
        index
        for index, (question, best) in enumerate(zip(pool, _one_is_best(arrays), strict=True))
        if question.decision.key not in done and (dominated or not best)
    ]
    if not left:
        return None
    found = expected_information(arrays.values[left], arrays.offered[left], arrays.draws, posterior.lapse)
    enough = found >= least_information
    per_cost = np.where(enough | ~enough.any(), found / [pool[index].cost for index in left], -np.inf)
    equal = np.flatnonzero(per_cost >= per_cost.max() - 1e-12)
    place = int(np.random.default_rng(seed).choice(equal))
    return Suggestion(pool[left[place]], left[place], float(found[place]), _regret(arrays))


def expected_information(
    values: FloatArray, offered: npt.NDArray[np.bool_], draws: FloatArray, lapse: float = 0.0
) -> FloatArray:
    """Mutual information of answer and parameters, in nats, shape (questions,).

    I = H(mean over draws of P) - mean over draws of H(P); from 0 to log(number of answers).

    Args:
        values: Values of the answers, shape (questions, answers, parameters).
        offered: Whether there is such an answer, shape (questions, answers).
        draws: Draws of the parameters with equal probabilities, shape (draws, parameters).
        lapse: Probability of an answer at random.
    """
    found = np.empty(len(values))
    step = max(1, _AT_ONCE // (len(draws) * values.shape[1]))
    for first in range(0, len(values), step):
        part = slice(first, first + step)
        # Shape (answers, questions, draws).
        probs = choice_probs(values[part], offered[part], draws, lapse).transpose(2, 1, 0)
        mean = probs.mean(axis=2)
        # p log p is 0 where p is.
        logs = np.log(np.maximum(probs, _TINY))
        own = np.einsum("aqd,aqd->q", probs, logs) / len(draws)
        found[part] = own - (mean * np.log(np.where(mean > 0, mean, 1.0))).sum(axis=0)
    return found.clip(min=0.0)


def expected_regret(posterior: WeightPosterior, pool: Sequence[Question], seed: int = 0) -> float:
    """Expected loss of acting by the mean weights instead of by the person's own, averaged over a pool.

    E_w[max_x w.g(x)] - max_x E_w[w.g(x)], the expected value of perfect information, in standard deviations
    of the values.

    Args:
        posterior: What is known about the weights.
        pool: Questions with values for the posterior's objectives.
        seed: Random seed of the draws.

    Raises:
        InputError: A question has no value for an objective of the posterior.
    """
    return _regret(_arrays(posterior, pool, seed))


@dataclass(frozen=True, eq=False)
class _Arrays:
    """A pool as arrays; see `question_arrays`. Options are answers other than "about the same"."""

    values: FloatArray
    offered: npt.NDArray[np.bool_]
    options: npt.NDArray[np.bool_]
    draws: FloatArray
    objectives: int


def _arrays(posterior: WeightPosterior, pool: Sequence[Question], seed: int) -> _Arrays:
    names = posterior.objectives
    if not pool:
        raise InputError("there are no questions", field="pool")
    for row, question in enumerate(pool):
        if not isinstance(question, Question):
            raise InputError(f"expected a Question, found {question!r:.60}", row=row + 1, field="pool")
        missing = set(names) - set(question.values[0])
        if missing:
            raise InputError(f"has no value for {', '.join(sorted(missing))}", row=row + 1, field="pool")
    draws = posterior.draw(_DRAWS, seed)
    known = posterior.tie_log is not None
    may_tie = np.array([question.may_tie for question in pool])
    if may_tie.any() and not known:
        draws = np.column_stack([draws, np.full(len(draws), _TIE)])
    values, offered = question_arrays(pool, names, posterior.scales, known or bool(may_tie.any()))
    options = offered.copy()
    if may_tie.any():
        options[may_tie, 2] = False
    return _Arrays(values, offered, options, draws, len(names))


def _regret(arrays: _Arrays) -> float:
    weights = arrays.draws[:, : arrays.objectives]
    weights = weights / weights.sum(axis=1, keepdims=True)
    # "About the same" is no option, and is the last answer.
    places = int(np.flatnonzero(arrays.options.any(axis=0))[-1]) + 1
    options, total = arrays.options[:, :places], 0.0
    step = max(1, _AT_ONCE // (len(weights) * places))
    for first in range(0, len(arrays.values), step):
        part = slice(first, first + step)
        values = np.moveaxis(arrays.values[part, :places, : arrays.objectives], 1, 0)
        utilities, mean = values @ weights.T, values @ weights.mean(axis=0)
        if not options[part].all():
            utilities[~options[part].T] = -np.inf
            mean[~options[part].T] = -np.inf
        total += float((utilities.max(axis=0).mean(axis=1) - mean.max(axis=0)).sum())
    return total / len(arrays.values)


def _one_is_best(arrays: _Arrays) -> npt.NDArray[np.bool_]:
    """Whether one option is the best by every objective, by question."""
    values = np.where(arrays.options[:, :, None], arrays.values[:, :, : arrays.objectives], -np.inf)
    best = (values >= values.max(axis=1, keepdims=True)).all(axis=2)
    return (best & arrays.options).any(axis=1)
