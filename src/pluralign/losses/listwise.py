"""Losses of lists: one prompt's completions with a level of quality each, scored by the policy.

Scores are s_i = beta (log pi(y_i) - log pi_ref(y_i)). Levels psi_i in [0, 1] have to mean the same in all
prompts: shares of the list that a completion is better than, or ranks, not raw rewards. For lists of two with
levels 1 and 0, `list_likelihood_loss` and `all_pairs_loss` are DPO, and `lambda_loss` is 0.5325 times DPO.
Completions of equal levels are not compared, and the order of a list has no influence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

ListwiseLoss = Callable[[Tensor, Tensor], Tensor]
"""Function from ``(scores, levels)``, both of shape (lists, completions), to the loss of each list."""

RESOLUTION = 1e-3
"""Scores that round to the same multiple of this are equal in `lambda_loss`'s ranking, nats."""


def lambda_loss(
    scores: Float[Tensor, "lists completions"], levels: Float[Tensor, "lists completions"]
) -> Float[Tensor, " lists"]:
    """LiPO-lambda: logistic losses of pairs, weighted by what the exchange of two ranks is worth.

    L = sum over psi_i > psi_j of |G_i - G_j| |1 / D(tau_i) - 1 / D(tau_j)| log(1 + exp(s_j - s_i)),
    G = 2^psi - 1, D(tau) = log(1 + tau) (Liu et al. 2024, eq. 8), where tau_i is the rank of completion i by
    the model's own scores, 1 for the largest. The weights are constants: no gradient flows through them. The
    logarithms are natural; base 2 would multiply the loss by log 2.

    Before training all scores are zero up to rounding errors, which should not decide the ranks. Scores are
    therefore ranked in steps of `RESOLUTION`, and of equal ones the worse completion is ranked first (ours).

    Args:
        scores: Scores s, beta times log pi / pi_ref of each completion.
        levels: Levels psi in [0, 1], larger is better.
    """
    gains = 2**levels - 1
    discounts = 1 / (_ranks(scores.detach(), levels) + 1.0).log().to(gains.dtype)
    weights = _gaps(gains).abs() * _gaps(discounts).abs()
    return _over_pairs(weights * softplus(-_gaps(scores)), levels)


def list_likelihood_loss(
    scores: Float[Tensor, "lists completions"], levels: Float[Tensor, "lists completions"]
) -> Float[Tensor, " lists"]:
    """List-MLE: negative log-likelihood of the order of the levels under the Plackett-Luce model.

    L = sum_i log(1 + sum over psi_j < psi_i of exp(s_j - s_i)) (Liu et al. 2024, eq. 7): each completion is
    chosen among itself and those below it. Completions of equal levels are each compared with those below,
    not with one another (ours; a composite likelihood).

    Args:
        scores: Scores s, beta times log pi / pi_ref of each completion.
        levels: Levels psi, of which only the order counts; larger is better.
    """
    below = (-_gaps(scores)).masked_fill(~_above(levels), -torch.inf)
    # The zero is the completion itself.
    whole = torch.cat([torch.zeros_like(scores)[..., None], below], dim=-1)
    return whole.logsumexp(-1).sum(-1)


def all_pairs_loss(
    scores: Float[Tensor, "lists completions"], levels: Float[Tensor, "lists completions"]
) -> Float[Tensor, " lists"]:
    """DPO on all pairs of a list (Rafailov et al. 2023, eq. 7), mean over its K (K - 1) / 2 pairs.

    L = 2 / (K (K - 1)) sum over psi_i > psi_j of log(1 + exp(s_j - s_i)). Pairs of equal levels add nothing
    to the sum and count in the mean, so that every pair of a data set has the same weight.

    Args:
        scores: Scores s, beta times log pi / pi_ref of each completion.
        levels: Levels psi, of which only the order counts; larger is better.
    """
    size = scores.shape[-1]
    return _over_pairs(softplus(-_gaps(scores)), levels) / (size * (size - 1) / 2)


LIST_LOSSES: Mapping[str, ListwiseLoss] = {
    "lambda": lambda_loss,
    "list-mle": list_likelihood_loss,
    "pairs": all_pairs_loss,
}
"""Losses of lists by the names that command lines take."""


def _gaps(values: Float[Tensor, "lists i"]) -> Float[Tensor, "lists i j"]:
    """Differences of the i-th and the j-th value."""
    return values[..., :, None] - values[..., None, :]


def _above(levels: Float[Tensor, "lists i"]) -> Bool[Tensor, "lists i j"]:
    return _gaps(levels) > 0


def _over_pairs(
    losses: Float[Tensor, "lists i j"], levels: Float[Tensor, "lists i"]
) -> Float[Tensor, " lists"]:
    """Sum over pairs in which i is better than j."""
    return losses.masked_fill(~_above(levels), 0.0).sum((-2, -1))


def _ranks(scores: Float[Tensor, "lists i"], levels: Float[Tensor, "lists i"]) -> Int[Tensor, "lists i"]:
    """Ranks from 1 by decreasing scores; of equal scores, the lower level first."""
    worst_first = levels.argsort(dim=-1, stable=True)
    steps = (scores / RESOLUTION).round().gather(-1, worst_first)
    order = worst_first.gather(-1, steps.argsort(dim=-1, descending=True, stable=True))
    return order.argsort(dim=-1) + 1
