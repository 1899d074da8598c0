"""Likelihoods of choices under a random-utility model: pure functions of NumPy arrays in float64.

An option's utility is linear in its values, u = theta . g. Somebody picks option x with probability
(1 - lapse) exp(u(x)) / sum over options of exp(u) + lapse / options: a multinomial logit (McFadden 1974) with
a lapse rate. With theta = (decisiveness) x (weights on the simplex) and g the policies' log-probabilities,
decisiveness 1 and no lapses, these are the probabilities of the geometric mixture of those policies.

A ranking is a choice among what is left, again and again (Plackett 1975). "About the same" is an option of
its own with utility (u1 + u2) / 2 + log nu (Davidson 1970): a third option whose values are the mean of the
two, with one more value that is multiplied by log nu.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pluralign.core.arrays import BoolArray, FloatArray


def choice_log_probs(
    values: FloatArray, offered: BoolArray, theta: FloatArray, lapse: float = 0.0
) -> FloatArray:
    """Log-probabilities of the options, shape (draws, choices, options); -inf where none is offered.

    Args:
        values: Values of the options, shape (choices, options, parameters); anything finite where none is
            offered.
        offered: Whether there is such an option, shape (choices, options).
        theta: Parameters of the utility, shape (draws, parameters).
        lapse: Probability of an answer at random.
    """
    utilities = _utilities(values, offered, theta)
    if lapse:
        odds = _probabilities(utilities, offered, lapse)
        with np.errstate(divide="ignore"):
            log_probs = np.log(odds)
    else:
        log_probs = utilities - np.log(np.exp(utilities).sum(axis=0))
    return log_probs.transpose(2, 1, 0)


def choice_probs(values: FloatArray, offered: BoolArray, theta: FloatArray, lapse: float = 0.0) -> FloatArray:
    """Probabilities of the options, shape (draws, choices, options); 0 where none is offered.

    Args:
        values: See `choice_log_probs`.
        offered: See `choice_log_probs`.
        theta: See `choice_log_probs`.
        lapse: See `choice_log_probs`.
    """
    return _probabilities(_utilities(values, offered, theta), offered, lapse).transpose(2, 1, 0)


def _utilities(values: FloatArray, offered: BoolArray, theta: FloatArray) -> FloatArray:
    """Utilities above the best option's, shape (options, choices, draws)."""
    choices, options, parameters = values.shape
    # Options come first here, because NumPy is slow at sums over a short last axis.
    by_option = np.moveaxis(values, 1, 0).reshape(options * choices, parameters)
    utilities = (by_option @ theta.T).reshape(options, choices, len(theta))
    if not offered.all():
        utilities[~offered.T] = -np.inf
    utilities -= utilities.max(axis=0)
    return utilities


def _probabilities(utilities: FloatArray, offered: BoolArray, lapse: float) -> FloatArray:
    """Probabilities from utilities, which are overwritten, shape (options, choices, draws)."""
    odds = np.exp(utilities, out=utilities)
    odds *= (1.0 - lapse) / odds.sum(axis=0)
    if lapse:
        odds += np.where(offered, lapse / offered.sum(axis=-1, keepdims=True), 0.0).T[:, :, None]
    return odds


def choice_log_likelihood(
    values: FloatArray,
    offered: BoolArray,
    chosen: npt.NDArray[np.int64],
    theta: FloatArray,
    lapse: float = 0.0,
) -> FloatArray:
    """Log-likelihood of each choice, shape (draws, choices).

    Args:
        values: See `choice_log_probs`.
        offered: See `choice_log_probs`.
        chosen: Indices of the options taken, shape (choices,).
        theta: See `choice_log_probs`.
        lapse: See `choice_log_probs`.
    """
    log_probs = choice_log_probs(values, offered, theta, lapse)
    return log_probs[:, np.arange(len(chosen)), chosen]


def choice_derivatives(
    values: FloatArray,
    offered: BoolArray,
    chosen: npt.NDArray[np.int64],
    weights: FloatArray,
    theta: FloatArray,
    lapse: float = 0.0,
) -> tuple[float, FloatArray, FloatArray]:
    """Weighted log-likelihood of all choices at one theta, its gradient and its Hessian.

    Without lapses the gradient of a choice is g(x) - E[g] and its Hessian is -Cov[g]. With them, let r be the
    share of the answer's probability that is no lapse; the gradient is r (g(x) - E[g]), the Hessian
    r (1 - r) (g(x) - E[g]) (g(x) - E[g])' - r Cov[g].

    Args:
        values: See `choice_log_probs`.
        offered: See `choice_log_probs`.
        chosen: Indices of the options taken, shape (choices,).
        weights: Number of times that each choice counts, shape (choices,).
        theta: Parameters of the utility, shape (parameters,).
        lapse: See `choice_log_probs`.

    Returns:
        Log-likelihood, gradient of shape (parameters,), Hessian of shape (parameters, parameters).
    """
    rows = np.arange(len(chosen))
    log_probs = choice_log_probs(values, offered, theta[None])[0]
    probs = np.exp(log_probs)
    # In logarithms: an answer may be less likely than the smallest number.
    with np.errstate(divide="ignore"):
        meant = np.log1p(-lapse) + log_probs[rows, chosen]
        total = np.logaddexp(meant, np.log(lapse / offered.sum(axis=-1)))
    share = np.exp(meant - total)
    mean = np.einsum("co,cop->cp", probs, values)
    apart = values[rows, chosen] - mean
    centred = values - mean[:, None, :]
    covariance = np.einsum("c,co,cop,coq->pq", weights * share, probs, centred, centred, optimize=True)
    outer = np.einsum("c,cp,cq->pq", weights * share * (1.0 - share), apart, apart)
    return float(weights @ total), (weights * share) @ apart, outer - covariance


def arithmetic_weights(
    probabilities: FloatArray, tolerance: float = 1e-10, most_rounds: int = 10_000
) -> tuple[FloatArray, list[float]]:
    """Weights of an arithmetic mixture of policies that make choices most likely, by EM.

    The likelihood of P(x | w) = sum_k w_k pi_k(x) is log-concave in w; the update w_k <- mean of
    w_k pi_k(x) / P(x | w) never lowers it (Dempster, Laird and Rubin 1977).

    Args:
        probabilities: Probability that each policy gives to each option taken, shape (choices, objectives).
        tolerance: Gain in mean log-likelihood below which the rounds end.
        most_rounds: Largest number of rounds.

    Returns:
        Weights of shape (objectives,), which sum to one, and the mean log-likelihood before each round.
    """
    weights = np.full(probabilities.shape[1], 1.0 / probabilities.shape[1])
    history: list[float] = []
    for _ in range(most_rounds):
        joint = probabilities * weights
        total = joint.sum(axis=1)
        history.append(float(np.log(total).mean()))
        if len(history) > 1 and history[-1] - history[-2] < tolerance:
            break
        weights = (joint / total[:, None]).mean(axis=0)
    return weights, history
