"""How well weights explain the choices that they were inferred from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.elicit.choice_data import ChoiceData, per_owner
from pluralign.losses.choice import choice_derivatives, choice_log_probs

# Draws x rows x options held at once.
_AT_ONCE = 4_000_000
# Directions with less information than this share of the largest are undetermined.
_NO_INFORMATION = 1e-9


@dataclass(frozen=True)
class Explanation:
    """How well weights explain choices; each choice is predicted from the others.

    Args:
        share: Share of the answers that were the most probable ones.
        log_loss: Mean of -log probability of the answers, in nats.
        even_log_loss: The same by chance: if all options were equally probable, and "about the same" as
            frequent as among the other answers.
        rank: Number of directions, among as many as there are objectives, about which the questions say
            anything.
        undetermined: Pairs of objectives that these questions cannot tell apart.
    """

    share: float
    log_loss: float
    even_log_loss: float
    rank: int
    undetermined: tuple[tuple[str, str], ...]


def explain(
    data: ChoiceData, objectives: Sequence[str], parameters: FloatArray, shares: FloatArray, lapse: float
) -> Explanation:
    """Predict each answer from the others, and find out what the questions cannot tell apart.

    An answer is left out by weighting the draws with the inverse of its probability (Gelfand, Dey and Chang
    1992); a ranking is left out as a whole, and each of its stages, or of its pairs, is predicted.

    Args:
        data: Choices.
        objectives: Objectives, the order of the first parameters.
        parameters: Draws of the parameters, shape (draws, parameters).
        shares: Posterior probability of each draw, shape (draws,).
        lapse: Probability of an answer at random.
    """
    right, loss, even, counted = 0.0, 0.0, 0.0, 0.0
    chance = _by_chance(data)
    for part in _parts(data, len(shares)):
        log_probs = choice_log_probs(data.values[part], data.offered[part], parameters, lapse)
        chosen, weights = data.chosen[part], data.weights[part]
        rows = np.arange(len(chosen))
        with np.errstate(divide="ignore"):
            own = weights * log_probs[:, rows, chosen]
            # The stages of a ranking are one answer: what it says later would foretell its first place.
            _, answer = np.unique(data.answers[part], return_inverse=True)
            answers = np.zeros((len(shares), answer.max() + 1))
            np.add.at(answers.T, answer, own.T)
            left = np.log(shares)[:, None] - answers[:, answer]
        left = np.exp(left - left.max(axis=0))
        left /= left.sum(axis=0)
        predicted = np.einsum("dc,dco->co", left, np.exp(log_probs))
        taken = predicted[rows, chosen]
        best = predicted >= predicted.max(axis=1, keepdims=True) - 1e-9
        right += float(weights @ (best[rows, chosen] / best.sum(axis=1)))
        loss -= float(weights @ np.log(taken))
        even -= float(weights @ chance[part])
        counted += float(weights.sum())
    rank, alike = _undetermined(data, objectives, shares @ parameters)
    return Explanation(right / counted, loss / counted, even / counted, rank, alike)


def _by_chance(data: ChoiceData) -> FloatArray:
    """Log-probability of each row's option if values do not matter, shape (rows,).

    "About the same" is a third answer that somebody may never give. As probable as the two others, it would
    make any answers look as if values foretold them, because its frequency is inferred, too.
    """
    found = -np.log(data.offered.sum(axis=1))
    if data.ties:
        # Its values end with the one that is multiplied by log nu.
        offered = data.values[:, 2, -1] > 0
        same = offered & (data.chosen == 2)
        others: list[FloatArray] = []
        for rows in (same, offered):
            weights = np.where(rows, data.weights, 0.0)
            own = per_owner(data.answers, weights, int(data.answers.max()) + 1)
            others.append(weights.sum() - own[data.answers])
        # The rule of succession: each of the three answers counts once before it is given.
        share = (others[0] + 1) / (others[1] + 3)
        found[offered] = np.log(np.where(same, share, (1 - share) / 2))[offered]
    return found


def _parts(data: ChoiceData, draws: int) -> Iterator[slice]:
    """Rows that are computed at once: all rows of some answers, which follow each other."""
    most = max(1, _AT_ONCE // (draws * data.values.shape[1]))
    begins = np.flatnonzero(np.diff(data.answers, prepend=-1))
    first = 0
    for begin, end in pairwise([*begins.tolist(), len(data.answers)]):
        if end - first > most and begin > first:
            yield slice(first, begin)
            first = begin
    yield slice(first, len(data.answers))


def _undetermined(
    data: ChoiceData, objectives: Sequence[str], theta: FloatArray
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Rank of the information at theta, and the pairs of objectives whose difference has none."""
    _, _, hessian = choice_derivatives(data.values, data.offered, data.chosen, data.weights, theta)
    count = len(objectives)
    information = -hessian[:count, :count]
    values = np.linalg.eigvalsh(information)
    largest = max(float(values[-1]), 1e-300)
    pairs: list[tuple[str, str]] = []
    for i in range(count):
        for j in range(i + 1, count):
            apart = information[i, i] + information[j, j] - 2 * information[i, j]
            if apart <= _NO_INFORMATION * largest:
                pairs.append((objectives[i], objectives[j]))
    return int((values > _NO_INFORMATION * largest).sum()), tuple(pairs)
