"""Likelihood losses: behaviour cloning, supervised fine-tuning, and penalties on rejected tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def behaviour_cloning_loss(
    log_probs: Float[Tensor, "decisions options"],
    actions: Int[Tensor, " decisions"],
    weights: Float[Tensor, " decisions"] | None = None,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of the options taken, in nats per decision.

    L = - sum_i w_i log pi(a_i | s_i) / sum_i w_i: the forward KL divergence from the demonstrator, up to a
    constant (Inverse-RLignment eq. 6-7); also the warm-up of contrastive preference learning.

    Args:
        log_probs: Log-probabilities log pi of every option, normalised over the options; -inf at padded
            options.
        actions: Index of the option taken.
        weights: Weight of each decision; 0 excludes it. All 1 by default.

    Returns:
        The weighted mean; 0 where all weights are 0.
    """
    taken = log_probs.gather(1, actions[:, None]).squeeze(1)
    return weighted_mean_nll(taken, torch.ones_like(taken) if weights is None else weights)


def weighted_mean_nll(
    log_probs: Float[Tensor, "*batch"], weights: Float[Tensor, "*batch"],
    total: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """- sum w log p / sum w over all entries; entries of weight 0 are ignored, whatever their value.

    Args:
        log_probs: Log-probabilities log p of the observed outcomes, nats.
        weights: Weights, not negative.
        total: Normaliser in place of their sum.

    Returns:
        Nats per unit of weight; 0 where all weights are 0.
    """
    # Not w * log p: an excluded entry may be -inf, and 0 * inf is NaN.
    kept = torch.where(weights > 0, log_probs, 0.0)
    total = weights.sum() if total is None else total
    return -(weights * kept).sum() / total.clamp(min=torch.finfo(weights.dtype).tiny)


def sft_loss(
    log_probs: Float[Tensor, " tokens"],
    *,
    tokens: float,
    weights: Float[Tensor, " tokens"] | None = None,
) -> Float[Tensor, ""]:
    """Supervised fine-tuning: - sum_t w_t log pi(y_t | y_<t) / ``tokens``, nats.

    With w = 1 this is the forward KL divergence between whole completions (Inverse-RLignment eq. 6-7), up to
    a constant; with `occupancy_weights` it is that between state-action occupancies (eq. 29).

    Args:
        log_probs: Log-probabilities of the demonstrated tokens, nats.
        tokens: Normaliser; with one constant for all parts of a step, their losses add up.
        weights: Weight of each token; all 1 by default.
    """
    return -(log_probs if weights is None else weights * log_probs).sum() / tokens


def occupancy_weights(lengths: Int[Tensor, " completions"]) -> Float[Tensor, " tokens"]:
    """(T - k) / T for token k = 0 .. T-1 of each completion of T tokens (Inverse-RLignment eq. 29).

    The state-action pair k is reached through all tokens before it. The first token therefore enters T terms
    of the sum, the last token only one; the mean weight is (T + 1) / 2T.

    Args:
        lengths: Number of tokens T of each completion; completions are concatenated in this order.
    """
    whole = lengths.repeat_interleave(lengths)
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    place = torch.arange(len(whole), device=lengths.device) - starts
    return (whole - place) / whole


def contrastive_sft_loss(
    log_probs: Float[Tensor, " tokens"],
    chosen: Bool[Tensor, " tokens"],
    negative: Callable[[Float[Tensor, " tokens"]], Float[Tensor, " tokens"]] | None,
    *,
    beta: float = 1.0,
    tokens: float,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of chosen tokens plus a penalty on rejected ones (AVA-p "w/o irl").

    beta (sum over rejected of n(log pi) - sum over chosen of log pi) / ``tokens``, where n is the penalty.

    Args:
        log_probs: Log-probabilities log pi of all tokens, nats.
        chosen: True at tokens of chosen completions.
        negative: Penalty of each rejected token from its log-probability: `unlikelihood`,
            `clamped_negative` or `literal_negative`; None for no penalty.
        beta: Weight of the whole loss.
        tokens: Normaliser; with one constant for all parts of a step, their losses add up.
    """
    cost = -log_probs
    if negative is None:
        cost = cost.masked_fill(~chosen, 0.0)
    else:
        # The penalty is evaluated at rejected tokens only: at a chosen one its gradient could be infinite,
        # and 0 times infinity is NaN.
        cost = cost.masked_scatter(~chosen, negative(log_probs[~chosen]))
    return beta * cost.sum() / tokens


def unlikelihood(log_probs: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """- log(1 - p), elementwise: the penalty of AVA eq. 16; Welleck et al. 2020, eq. 4.

    Bounded below by 0. log p is clipped at -1e-6, so that a token of probability 1 costs 14 nats, not
    infinity.
    """
    return -torch.log(-torch.expm1(log_probs.clamp(max=-1e-6)))


def literal_negative(log_probs: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """log p, elementwise, as in AVA eq. 17. It is unbounded below, so it outgrows every other term."""
    return log_probs


def clamped_negative(log_probs: Float[Tensor, "*batch"], floor: float = -10.0) -> Float[Tensor, "*batch"]:
    """log p, elementwise, clipped below at ``floor`` (nats), so tokens below it have no gradient."""
    return log_probs.clamp(min=floor)


NEGATIVES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "unlikelihood": unlikelihood,
    "clamped": clamped_negative,
    "literal": literal_negative,
}
"""Penalties of rejected tokens by the names that command lines take."""
