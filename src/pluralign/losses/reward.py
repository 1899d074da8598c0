"""Losses of reward models on preference pairs, and weights that sum tokens' rewards to a sentence's."""

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

    L = - log sigma(r+ - r- - m) (margin m: Llama 2, Touvron et al. 2023, eq. 2; m = 0: Ouyang et al. 2022,
    eq. 1).

    Args:
        chosen: r+, reward of the chosen completion.
        rejected: r-, reward of the rejected completion.
        margin: m, by which the chosen completion should be better, in units of reward.

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

    L = - log sigma((r+ - r- - m) / sqrt((s+^2 + s-^2) / 2)) (Inverse-RLignment eq. 14-15). Where both s
    are equal it is Bradley-Terry on r / s.

    Args:
        chosen: r+, mean reward of the chosen completion.
        rejected: r-, mean reward of the rejected completion.
        chosen_sigma: s+, standard deviation of the chosen completion's reward, positive.
        rejected_sigma: s-, standard deviation of the rejected completion's reward, positive.
        margin: m, by which the chosen completion should be better, in units of reward.

    Examples:
        >>> import torch
        >>> import pluralign as pl
        >>> pl.losses.learned_variance(*torch.tensor([[2.0], [0.0], [4.0], [4.0]]))
        tensor([0.4741])
    """
    scale = ((chosen_sigma.square() + rejected_sigma.square()) / 2).sqrt()
    # The difference before the division: small scales would blow up what rounding takes from either reward.
    return softplus(-(chosen - rejected - margin) / scale)


def attention_weights(
    queries: Float[Tensor, "tokens width"],
    keys: Float[Tensor, "tokens width"],
    owner: Int[Tensor, " tokens"],
    branches: int,
    *,
    causal: bool = False,
) -> Float[Tensor, " tokens"]:
    """How much a branch's tokens attend to each of them; the weights of a branch sum to one.

    w_t = mean_i softmax_t'(q_i . k_t' / sqrt(width))[t] (AVA eq. 11, with the scale of Preference
    Transformer, Kim et al. 2023, sec. 3.2).

    Args:
        queries: q of each token.
        keys: k of each token.
        owner: the branch of each token; a branch's tokens are contiguous.
        branches: how many there are.
        causal: token i attends to t <= i only, as inside a causal model. The first token then gets about
            H(T) times the mean weight, the last one 1/T of it (T tokens, H the harmonic number).
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
    # Rows of padding attend, too; they are left out of the mean.
    total = (attention * there[:, :, None]).sum(dim=1)
    return (total / counts.clamp(min=1)[:, None])[owner, column]
