"""Likelihood losses: imitation of what was done."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def behaviour_cloning_loss(
    log_probs: Float[Tensor, "decisions options"],
    actions: Int[Tensor, " decisions"],
    weights: Float[Tensor, " decisions"] | None = None,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of the options taken, in nats per decision.

    L = - sum_i w_i log pi(a_i | s_i) / sum_i w_i: the forward KL to the behaviour up to a constant
    (Inverse-RLignment eq. 6-7); the warm-up of contrastive preference learning.

    Args:
        log_probs: log pi of every option, normalised over the options; -inf at padded options.
        actions: index of the option taken.
        weights: of each decision; 0 leaves one out. All 1 by default.

    Returns:
        The weighted mean; 0 where all weights are 0.
    """
    taken = log_probs.gather(1, actions[:, None]).squeeze(1)
    return weighted_mean_nll(taken, torch.ones_like(taken) if weights is None else weights)


def weighted_mean_nll(
    log_probs: Float[Tensor, "*batch"], weights: Float[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """- sum w log p / sum w over all entries; entries of weight 0 are inert, whatever they hold.

    Args:
        log_probs: of what was done, nats.
        weights: not negative.

    Returns:
        Nats per unit of weight; 0 where all weights are 0.
    """
    # Not w * log p: a left-out entry may be -inf, and 0 * inf is not a number.
    kept = torch.where(weights > 0, log_probs, 0.0)
    return -(weights * kept).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
