"""Utilities of outcomes from preferences between pairs: Thurstone's model (Case V)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.evaluate.statistics import Estimate, of_resamples, resampling_weights
from pluralign.evaluate.values.answers import Answers

_FOLDS = 10
_ROUNDS = 100
# An answer that alone determines a utility has leverage 1 and slope 0.
_MOST_LEVERAGE = 0.95
# Keeps Newton's steps defined along directions that the answers do not determine.
_RIDGE = 1e-9


@dataclass(frozen=True, eq=False)
class Utilities:
    """Utilities of items; their mean is 0, and P(i over j) = Phi(u_i - u_j).

    Args:
        mean: Utilities, shape (items,).
        covariance: Covariance of their errors, shape (items, items).
    """

    mean: FloatArray
    covariance: FloatArray

    @property
    def stderr(self) -> FloatArray:
        """Standard errors, shape (items,)."""
        return np.sqrt(np.diag(self.covariance).clip(min=0.0))

    def predicted(self, pairs: IntArray) -> FloatArray:
        """Probability of preferring the first item of each pair, shape (pairs,)."""
        return np.asarray(_special().ndtr(self.mean[pairs[:, 0]] - self.mean[pairs[:, 1]]))


class Fit(Protocol):
    """A function that fits utilities to answers: `thurstone` or `expectation_propagation`."""

    def __call__(self, items: int, answers: Answers, /) -> Utilities:
        """Utilities of items 0 to ``items`` - 1."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """How well utilities predict answers that they were not fitted to (cross-validation in ten folds).

    Args:
        log_loss: Mean cross-entropy of the answers, in nats.
        least_log_loss: Mean entropy of the answers, which no prediction is below.
        gain: Even odds' log-loss, log 2, minus the log-loss; its interval is from resampled outcomes.
        accuracy: Share of decided answers that are predicted.
        decided: Number of decided answers.
    """

    log_loss: float
    least_log_loss: float
    gain: Estimate
    accuracy: float
    decided: int

    @property
    def better_than_even(self) -> bool:
        """Whether the gain over even odds is above 0 at 95 %."""
        return self.gain.low > 0


def thurstone(items: int, answers: Answers, /, *, pseudo_count: float = 0.001) -> Utilities:
    """Maximum likelihood by Newton's method, with a covariance that is valid if the model is wrong.

    The log-likelihood is sum p log Phi(u_i - u_j) + (1 - p) log Phi(u_j - u_i) with the mean p over both
    orders (Thurstone 1927, Case V, scaled so that a difference has variance 1). The covariance is the
    sandwich of White (1982), with answers about different pairs treated as independent. Each answer's slope
    is divided by one minus its leverage (HC3; MacKinnon and White 1985), because a fit follows the answers
    that determine it: without that, 95 % intervals from 45 decided answers about ten outcomes hold 67 % of
    the utilities, with it 95 %.

    Args:
        items: Number of items.
        answers: Answers about pairs of items.
        pseudo_count: Number of answers added to each side of each pair, so that utilities are finite.
    """
    pairs = answers.pairs
    p = (answers.prefer + pseudo_count) / (1 + 2 * pseudo_count)
    mean = np.zeros(items)
    value = _log_likelihood(p, mean[pairs[:, 0]] - mean[pairs[:, 1]])
    for _ in range(_ROUNDS):
        slope, curve = _derivatives(p, mean[pairs[:, 0]] - mean[pairs[:, 1]])
        step = np.linalg.solve(_information(items, pairs, curve), _gradient(items, pairs, slope))
        size = 1.0
        while size > 1e-8:
            tried = mean + size * step
            better = _log_likelihood(p, tried[pairs[:, 0]] - tried[pairs[:, 1]])
            if better >= value:
                break
            size /= 2
        else:
            break
        mean, gained, value = tried - tried.mean(), better - value, better
        if gained < 1e-14 * max(1.0, abs(value)) and np.abs(step).max() < 1e-9:
            break
    slope, curve = _derivatives(p, mean[pairs[:, 0]] - mean[pairs[:, 1]])
    inverse = np.linalg.inv(_information(items, pairs, curve))
    i, j = pairs.T
    leverage = curve * (inverse[i, i] + inverse[j, j] - 2 * inverse[i, j])
    middle = _outer(items, pairs, (slope / (1 - leverage.clip(max=_MOST_LEVERAGE))) ** 2)
    centre = np.eye(items) - 1 / items
    return Utilities(mean, centre @ inverse @ middle @ inverse @ centre)


def expectation_propagation(
    items: int, answers: Answers, /, *, precision: float = 0.1, votes: int = 1
) -> Utilities:
    """Posterior mean and covariance by expectation propagation (Chu and Ghahramani 2005), by the package
    choix. It takes decided answers, so probabilities are rounded to votes.

    Args:
        items: Number of items.
        answers: Answers about pairs of items.
        precision: Precision of the Gaussian prior.
        votes: Number of votes in each order.

    Raises:
        InputError: choix is not installed.
    """
    try:
        choix: Any = importlib.import_module("choix")
    except ModuleNotFoundError:
        raise InputError("needs choix: pip install 'pluralign[values]'", field="fit") from None
    data: list[tuple[int, int]] = []
    for (i, j), p in zip(answers.pairs.tolist(), answers.prefer.tolist(), strict=True):
        wins = round(2 * votes * p)
        data += [(i, j)] * wins + [(j, i)] * (2 * votes - wins)
    mean, covariance = choix.ep_pairwise(items, data, alpha=precision, model="probit")
    centre = np.eye(items) - 1 / items
    return Utilities(np.asarray(mean - mean.mean()), np.asarray(centre @ covariance @ centre))


def held_out(items: int, answers: Answers, fit: Fit = thurstone, *, resamples: int, seed: int) -> HeldOut:
    """Cross-validate utilities.

    Args:
        items: Number of items.
        answers: Answers about pairs of items, at least two.
        fit: Function that fits utilities.
        resamples: Number of bootstrap resamples.
        seed: Random seed of the folds and the resampling.
    """
    pairs, p = answers.pairs, answers.prefer
    random = np.random.default_rng(seed)
    folds = random.permutation(len(pairs)) % min(_FOLDS, len(pairs))
    predicted = np.empty(len(pairs))
    for fold in range(int(folds.max()) + 1):
        rest = folds != fold
        fitted = fit(items, Answers(pairs[rest], answers.orders[rest]))
        predicted[~rest] = fitted.predicted(pairs[~rest])
    q = predicted.clip(1e-12, 1 - 1e-12)
    loss = -(p * np.log(q) + (1 - p) * np.log1p(-q))
    special = _special()
    floor = np.asarray(special.entr(p) + special.entr(1 - p))
    gains = math.log(2) - loss
    decided = p != 0.5
    right = ((q > 0.5) == (p > 0.5)) & (q != 0.5)
    weights = resampling_weights(items, resamples, random)
    return HeldOut(
        float(loss.mean()),
        float(floor.mean()),
        of_resamples(float(gains.mean()), weighted_means(weights, pairs, gains), 0.95),
        float(right[decided].mean()) if decided.any() else 0.0,
        int(decided.sum()),
    )


def weighted_means(weights: FloatArray, groups: IntArray, values: FloatArray) -> FloatArray:
    """Means of values of groups of items under resampled items: weights of a group's items are multiplied.

    Pairs of the same items depend on each other, so it is the items that are resampled.

    Args:
        weights: Weights of the items, shape (resamples, items).
        groups: Items of each group, shape (groups, items of a group).
        values: Values of the groups, shape (groups,).

    Returns:
        Means, shape (resamples or fewer,): resamples without any group are left out.
    """
    counts = weights[:, groups[:, 0]].copy()
    for column in groups.T[1:]:
        counts *= weights[:, column]
    totals = counts.sum(axis=1)
    return (counts @ values)[totals > 0] / totals[totals > 0]


def place(
    answers: Sequence[FloatArray], anchors: Sequence[FloatArray], *, pseudo_count: float = 0.001
) -> tuple[FloatArray, FloatArray]:
    """Utilities of new items from comparisons with items of known utility.

    Args:
        answers: Probabilities of preferring each new item to its anchors.
        anchors: Utilities of its anchors, of the same shapes.
        pseudo_count: Number of answers added to each side of each pair.

    Returns:
        Utilities and standard errors, shape (items,).
    """
    means: list[float] = []
    errors: list[float] = []
    for given, known in zip(answers, anchors, strict=True):
        p = (given + pseudo_count) / (1 + 2 * pseudo_count)
        u = float(known.mean())
        for _ in range(_ROUNDS):
            slope, curve = _derivatives(p, u - known)
            step = float(slope.sum() / max(float(curve.sum()), _RIDGE))
            u += max(-1.0, min(1.0, step))
            if abs(step) < 1e-12:
                break
        slope, curve = _derivatives(p, u - known)
        means.append(u)
        errors.append(math.sqrt(float((slope**2).sum())) / max(float(curve.sum()), _RIDGE))
    return np.array(means), np.array(errors)


def require_connected(texts: Sequence[str], answers: Answers) -> None:
    """Check that comparisons connect all items, without which their utilities cannot be compared.

    Raises:
        InputError: They do not.
    """
    reached = np.zeros(len(texts), dtype=bool)
    reached[0] = True
    for _ in texts:
        for one, other in ((0, 1), (1, 0)):
            reached[answers.pairs[reached[answers.pairs[:, one]], other]] = True
    if not reached.all():
        lost = texts[int(np.flatnonzero(~reached)[0])]
        raise InputError(f"answered pairs do not connect {texts[0]!r:.60} with {lost!r:.60}", field="pairs")


def _log_likelihood(p: FloatArray, apart: FloatArray) -> float:
    special = _special()
    return float((p * special.log_ndtr(apart) + (1 - p) * special.log_ndtr(-apart)).sum())


def _derivatives(p: FloatArray, apart: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope of each pair's log-likelihood in the difference, and minus its curvature."""
    special = _special()
    log_density = -0.5 * apart**2 - 0.5 * math.log(2 * math.pi)
    above = np.exp(log_density - special.log_ndtr(apart))
    below = np.exp(log_density - special.log_ndtr(-apart))
    slope = p * above - (1 - p) * below
    curve = p * above * (apart + above) + (1 - p) * below * (below - apart)
    return slope, curve


def _gradient(items: int, pairs: IntArray, slope: FloatArray) -> FloatArray:
    found = np.zeros(items)
    np.add.at(found, pairs[:, 0], slope)
    np.add.at(found, pairs[:, 1], -slope)
    return found


def _outer(items: int, pairs: IntArray, weights: FloatArray) -> FloatArray:
    """Sum of weights x (e_i - e_j)(e_i - e_j)', shape (items, items)."""
    found = np.zeros((items, items))
    i, j = pairs.T
    for one, other, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
        np.add.at(found, (one, other), sign * weights)
    return found


def _information(items: int, pairs: IntArray, curve: FloatArray) -> FloatArray:
    # Utilities are determined up to a constant: that direction gets curvature 1.
    return _outer(items, pairs, curve) + 1 / items + _RIDGE * np.eye(items)


def _special() -> Any:
    # scipy is slow to import.
    return importlib.import_module("scipy.special")
