"""How well weights explain the choices that they were inferred from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.elicit.choice_data import ChoiceData
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
        even_log_loss: The same if all answers were equally probable.
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
    1992).

    Args:
        data: Choices.
        objectives: Objectives, the order of the first parameters.
        parameters: Draws of the parameters, shape (draws, parameters).
        shares: Posterior probability of each draw, shape (draws,).
        lapse: Probability of an answer at random.
    """
    right, loss, even, counted = 0.0, 0.0, 0.0, 0.0
    step = max(1, _AT_ONCE // (len(shares) * data.values.shape[1]))
    for first in range(0, len(data.chosen), step):
        part = slice(first, first + step)
        log_probs = choice_log_probs(data.values[part], data.offered[part], parameters, lapse)
        chosen, weights = data.chosen[part], data.weights[part]
        rows = np.arange(len(chosen))
        with np.errstate(divide="ignore"):
            left = np.log(shares)[:, None] - weights * log_probs[:, rows, chosen]
        left = np.exp(left - left.max(axis=0))
        left /= left.sum(axis=0)
        predicted = np.einsum("dc,dco->co", left, np.exp(log_probs))
        own = predicted[rows, chosen]
        best = predicted >= predicted.max(axis=1, keepdims=True) - 1e-9
        right += float(weights @ (best[rows, chosen] / best.sum(axis=1)))
        loss -= float(weights @ np.log(own))
        even += float(weights @ np.log(data.offered[part].sum(axis=1)))
        counted += float(weights.sum())
    rank, alike = _undetermined(data, objectives, shares @ parameters)
    return Explanation(right / counted, loss / counted, even / counted, rank, alike)


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
