"""Utilities of returns that weigh the worst cases more."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError


def mixed_value_at_risk(
    scores: Float[Tensor, ...], low: float, high: float, *, omega: float
) -> Float[Tensor, ...]:
    """Utility whose mean is the mixed value at risk (RiskPO, Ren et al. 2025, arXiv 2510.00911): a concave
    function with slopes 1 + omega below ``low``, 1 up to ``high``, and 0 above it.

    U(z) = (1 + omega) min(z - low, 0) + clip(z, low, high) - high. With ``low`` and ``high`` at quantiles
    of the scores, it is the part of the mean below the lower one, weighed 1 + omega, plus the part between
    them. With omega = 0 and all scores between them, it is the score up to a constant.

    Args:
        scores: Scores, for instance returns of episodes or of bundles of prompts.
        low: Lower edge, usually a quantile of the scores.
        high: Upper edge, not below ``low``.
        omega: Additional weight of scores below ``low``, not negative.

    Raises:
        InputError: The edges are in the wrong order, or omega is negative.
    """
    if not low <= high:
        raise InputError(f"must be at least low, {low:g}, found {high:g}", field="high")
    if not omega >= 0:
        raise InputError(f"must not be negative, found {omega}", field="omega")
    return (1 + omega) * (scores - low).clamp(max=0) + scores.clamp(low, high) - high


def quantile_utility(
    scores: Float[Tensor, ...], low: float, high: float, *, omega: float
) -> Float[Tensor, ...]:
    """`mixed_value_at_risk` with edges at quantiles of the scores.

    Args:
        scores: Scores of one batch.
        low: Share of the scores below the lower edge, from 0 to 1.
        high: Share of the scores below the upper edge, from ``low`` to 1.
        omega: Additional weight of scores below the lower edge, not negative.

    Raises:
        InputError: The shares are not in this order within [0, 1], or omega is negative.
    """
    if not 0 <= low <= high <= 1:
        raise InputError(f"must be shares in increasing order, found {low:g} and {high:g}", field="tail")
    edges = [float(scores.flatten().quantile(share)) for share in (low, high)]
    return mixed_value_at_risk(scores, *edges, omega=omega)
