"""Losses of reward models on preference pairs, and attention weights that sum token rewards."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus


def bradley_terry(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    margin: Float[Tensor, " pairs"] | float = 0.0,
) -> Float[Tensor, " pairs"]:
    """Negative log-likelihood of preferences under Bradley and Terry (1952), one loss per pair.

    L = - log sigma(r+ - r- - m), where m is the margin (Llama 2, Touvron et al. 2023, eq. 2; m = 0: Ouyang et
    al. 2022, eq. 1).

    Args:
        chosen: Reward r+ of the chosen completion.
        rejected: Reward r- of the rejected completion.
        margin: Margin m by which the chosen reward should exceed the rejected one.

    Examples:
        >>> import torch
        >>> import pluralign as pl
        >>> pl.losses.bradley_terry(torch.tensor([1.0]), torch.tensor([1.0]))
        tensor([0.6931])
    """
    return softplus(rejected - (chosen - margin))


def learned_variance(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    chosen_sigma: Float[Tensor, " pairs"],
    rejected_sigma: Float[Tensor, " pairs"],
    margin: Float[Tensor, " pairs"] | float = 0.0,
) -> Float[Tensor, " pairs"]:
    """Bradley-Terry with a learned uncertainty for each completion, one loss per pair.

    L = - log sigma((r+ - r- - m) / sqrt((s+^2 + s-^2) / 2)) (Inverse-RLignment eq. 14-15). If both s are
    equal, it is Bradley-Terry on r / s.

    Args:
        chosen: Mean reward r+ of the chosen completion.
        rejected: Mean reward r- of the rejected completion.
        chosen_sigma: Standard deviation s+ of the chosen completion's reward, positive.
        rejected_sigma: Standard deviation s- of the rejected completion's reward, positive.
        margin: Margin m by which the chosen reward should exceed the rejected one.

    Examples:
        >>> import torch
        >>> import pluralign as pl
        >>> pl.losses.learned_variance(*torch.tensor([[2.0], [0.0], [4.0], [4.0]]))
        tensor([0.4741])
    """
    scale = ((chosen_sigma.square() + rejected_sigma.square()) / 2).sqrt()
    # Subtract before dividing: a small scale would amplify the rounding error of either reward.
    return softplus(-(chosen - rejected - margin) / scale)


def attention_weights(
    queries: Float[Tensor, "tokens width"],
    keys: Float[Tensor, "tokens width"],
    owner: Int[Tensor, " tokens"],
    branches: int,
    *,
    causal: bool = False,
) -> Float[Tensor, " tokens"]:
    """Attention that each token receives within its branch; the weights of a branch sum to one.

    w_t = mean_i softmax_t'(q_i . k_t' / sqrt(width))[t] (AVA eq. 11, with the scale of Preference
    Transformer, Kim et al. 2023, sec. 3.2).

    Args:
        queries: Query q of each token.
        keys: Key k of each token.
        owner: Branch of each token; a branch's tokens are contiguous.
        branches: Number of branches.
        causal: Whether token i attends to t <= i only, as in a causal model. The first token then receives
            about H(T) times the mean weight and the last one 1/T of it (T tokens, H the harmonic number).
    """
    counts = torch.zeros(branches, dtype=torch.long, device=owner.device).index_add(
        0, owner, torch.ones_like(owner)
    )
    longest = int(counts.max()) if branches else 0
    firsts = counts.cumsum(0) - counts
    column = torch.arange(len(owner), device=owner.device) - firsts[owner]
    there = torch.arange(longest, device=owner.device) < counts[:, None]
    padded_q = queries.new_zeros(branches, longest, queries.shape[1]).index_put((owner, column), queries)
    padded_k = keys.new_zeros(branches, longest, keys.shape[1]).index_put((owner, column), keys)
    scores = padded_q @ padded_k.transpose(1, 2) / queries.shape[1] ** 0.5
    seen = there[:, None, :].expand(-1, longest, -1)
    if causal:
        seen = seen & torch.ones(longest, longest, dtype=torch.bool, device=owner.device).tril()
    attention = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(dim=-1)
    # Padding rows attend as well; they are excluded from the mean.
    total = (attention * there[:, :, None]).sum(dim=1)
    return (total / counts.clamp(min=1)[:, None])[owner, column]
