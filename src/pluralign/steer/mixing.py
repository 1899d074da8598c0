"""Mixtures of policies: the power mean of their probabilities, in log space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from pluralign.core import InputError
from pluralign.core.weights import SUM_TOLERANCE

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

Weights = Sequence[float] | npt.NDArray[np.float64]

ARITHMETIC, GEOMETRIC, HARMONIC = 1.0, 0.0, -1.0
"""Named powers. The default is the geometric mean, which measures better than the poster's arithmetic mean
(docs/papers.md)."""
# Absolute power below which sums of powers of probabilities are near 1.
_SMALL = 0.1


def mix_log_probs(
    log_probs: Float[np.ndarray, "policies *batch options"], weights: Weights, power: float = GEOMETRIC
) -> Float[np.ndarray, "*batch options"]:
    """Normalised power mean of several policies over the same options.

    ``pi(a|s) = M(a) / sum_b M(b)``, ``M(a) = (sum_i w_i pi_i(a|s)^p)^(1/p)``. With ``p = 1`` it is the
    weighted sum of probabilities (poster, eq. 3); as ``p -> 0`` the geometric mean (the weighted sum of
    log-probabilities,
    renormalised: multi-objective decoding under the reverse KL divergence); at ``p = -1`` the harmonic mean
    (forward KL); at ``p = inf`` the largest and at ``p = -inf`` the smallest probability. It is continuous in
    p, including 0 and the infinities.

    A policy of weight zero is ignored, whatever its values. If all weight is on one policy, its row is
    returned unchanged. An option to which some weighted policy gives probability zero (``-inf``) gets
    probability zero for ``p <= 0``; for ``p > 0`` the other policies determine it.

    Args:
        log_probs: Log-probabilities in nats; the first axis is policies, the last one options, with any
            number of batch axes in between.
        weights: One weight per policy; not negative, summing to one.
        power: Exponent p, any number, including the infinities.

    Returns:
        Log-probabilities of the mixture, without the policies' axis.

    Raises:
        InputError: The weights do not match the policies, p is NaN, or the mixture cannot be normalised:
            every option has probability zero, or a log-probability is NaN.
    """
    mixing = _checked(weights, len(log_probs))
    if math.isnan(power):
        raise InputError("must be a number, found nan", field="power")
    used = [int(i) for i in np.flatnonzero(mixing)]
    if len(used) == 1:
        return log_probs[used[0]]
    rows = log_probs[used]
    column = mixing[used].astype(rows.dtype).reshape(-1, *[1] * (rows.ndim - 1))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _normalised(_power_mean(rows, column, power))


def mix_rows(
    log_probs: Float[Tensor, "rows options"],
    owners: Int[Tensor, " rows"],
    weights: Float[Tensor, " rows"],
    mixtures: int,
    power: float = GEOMETRIC,
) -> Float[Tensor, "mixtures options"]:
    """`mix_log_probs` of many mixtures at once, each with its own rows and weights; differentiable.

    Args:
        log_probs: Log-probabilities in nats, normalised over the options; float32 or float64.
        owners: Index of each row's mixture.
        weights: Weight of each row: positive, summing to one in every mixture.
        mixtures: Number of mixtures.
        power: Exponent p, finite.

    Returns:
        Log-probabilities of every mixture; a mixture of a single row is that row.

    Raises:
        InputError: p is not finite.
    """
    import torch

    if not math.isfinite(power):
        raise InputError(f"must be finite, found {power}", field="power")
    shares = weights[:, None]
    if power == 0:
        terms = shares * log_probs
        scores = terms.new_zeros(mixtures, terms.shape[1]).index_add(0, owners, terms)
    else:
        # Relative to each mixture's largest p log pi, so that no exponential overflows.
        largest = torch.finfo(log_probs.dtype).max
        scaled = (power * log_probs).clamp(max=largest)
        top = scaled.new_full((mixtures, scaled.shape[1]), -math.inf)
        index = owners[:, None].expand_as(scaled)
        top = top.scatter_reduce(0, index, scaled, "amax").clamp(min=-largest)
        gaps = scaled - top[owners]
        total = torch.zeros_like(top).index_add(0, owners, shares * gaps.exp())
        logs = total.log()
        if abs(power) < _SMALL:
            # Of sums near 1 the logarithm would lose its digits to the division by p.
            below = torch.zeros_like(top).index_add(0, owners, shares * gaps.expm1())
            logs = torch.where(below > -0.5, below.log1p(), logs)
        scores = (logs + top) / power
        # For a negative power, an option excluded by one policy is excluded from the mixture.
        scores = torch.where(top == largest, -math.inf, scores)
    # Counted by a sum: torch's bincount would wait for the device.
    alone = shares.new_zeros(mixtures).index_add(0, owners, torch.ones_like(shares[:, 0])) == 1
    scores = scores.log_softmax(dim=-1)
    first = torch.zeros(mixtures, dtype=torch.long, device=owners.device).scatter(
        0, owners, torch.arange(len(owners), device=owners.device)
    )
    return torch.where(alone[:, None], log_probs[first], scores)


def _checked(weights: Weights, policies: int) -> npt.NDArray[np.float64]:
    mixing = np.asarray(weights, dtype=np.float64)
    if mixing.shape != (policies,) or not policies:
        raise InputError(f"expected one weight for each of {policies} policies, found shape {mixing.shape}")
    if not np.isfinite(mixing).all() or (mixing < 0).any():
        raise InputError(f"must be finite and not negative, found {mixing.tolist()}", field="weights")
    if abs(mixing.sum() - 1.0) > SUM_TOLERANCE:
        raise InputError(f"must sum to 1, found {mixing.sum():g}", field="weights")
    return mixing


def _power_mean(
    rows: Float[np.ndarray, "policies *batch options"], weights: npt.NDArray[Any], power: float
) -> Float[np.ndarray, "*batch options"]:
    """Log of the power mean over the first axis."""
    if power == 0:
        return (weights * rows).sum(0)
    if math.isinf(power):
        return rows.max(0) if power > 0 else rows.min(0)
    zero = rows == -math.inf
    left_out = np.where(zero, weights, 0.0).sum(0)
    kept, alive = np.where(zero, 0.0, weights), np.where(zero, 0.0, rows)
    center = (kept * alive).sum(0)
    gap = np.where(zero, 0.0, rows - center)
    # Where p times the gaps is small, log(sum w exp(p d)) / p loses its digits to the division by p;
    # about the weighted mean, log1p(sum w expm1(p d)) keeps them.
    near: npt.NDArray[Any] = (
        np.log1p((kept * np.expm1(np.clip(power * gap, -1.0, 1.0))).sum(0) - left_out) / power
    )
    # A policy that excludes an option must not set the scale by which the others' small shares are summed.
    top = np.where(zero, gap.min(0), gap).max(0) if power > 0 else gap.min(0)
    over = np.where(zero, 0.0, gap - top)
    far: npt.NDArray[Any] = top + np.log((kept * np.exp(power * over)).sum(0)) / power
    close: npt.NDArray[Any] = np.abs(power * gap).max(0) < 1.0
    mean: npt.NDArray[Any] = center + np.where(close, near, far)
    return np.where(left_out > 0 if power < 0 else zero.all(0), -math.inf, mean)


def _normalised(scores: Float[np.ndarray, "*batch options"]) -> Float[np.ndarray, "*batch options"]:
    top = scores.max(-1)
    if not np.isfinite(top).all():
        raise InputError(
            "no option has a probability to mix: the policies share no option (a power above 0 keeps the "
            "options of each), or a log-probability is not a number"
        )
    shifted = scores - top[..., None]
    return shifted - np.log(np.exp(shifted).sum(-1))[..., None]
