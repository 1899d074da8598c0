"""Policy gradients from pairs of samples of one prompt: P3O.

Summed over all pairs of G samples of the current policy, the pairwise policy gradient is the gradient of
RLOO, since the leave-one-out advantage r_i - mean_{j != i} r_j is the mean of r_i - r_j over the others.
Pairs matter only when samples are used for several steps, where importance ratios are clipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError

PairSurrogate = Callable[[Tensor, Tensor, float], Tensor]
"""Function from log-ratios log pi / pi_old (prompts, samples), advantages (prompts, samples, samples) and a
clip range to sample i's part of the objective of each pair (i, j)."""


def separate_clip(
    log_ratios: Float[Tensor, "prompts samples"],
    advantages: Float[Tensor, "prompts samples samples"],
    clip: float,
) -> Float[Tensor, "prompts samples samples"]:
    """P3O's first form: each sample's ratio is clipped by itself, min(q_i A, clip(q_i) A).

    Derived from the paper's description (its equation was not seen). Without a clip the gradient is unbiased
    for samples of pi_old, because r_j is only a baseline for sample i.

    Args:
        log_ratios: Log-ratios log q = log pi - log pi_old.
        advantages: Advantages A_ij = (r_i - r_j) / 2.
        clip: Range epsilon; ratios are clipped to [1 - epsilon, 1 + epsilon]. Infinite for no clip.
    """
    ratios = log_ratios.exp()[..., None]
    return torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages)


def joint_clip(
    log_ratios: Float[Tensor, "prompts samples"],
    advantages: Float[Tensor, "prompts samples samples"],
    clip: float,
) -> Float[Tensor, "prompts samples samples"]:
    """P3O's second form: the product of a pair's two ratios is clipped, clip(q_i q_j) A log(pi_i / pi_j).

    Derived from the paper's description (its equation was not seen): the clipped product is a constant
    importance weight of the pair's gradient. It bounds the variance. It does not bound the step, since an
    update that prefers y_i to y_j increases q_i, decreases q_j, and may leave their product as it is.

    Args:
        log_ratios: Log-ratios log q = log pi - log pi_old.
        advantages: Advantages A_ij = (r_i - r_j) / 2.
        clip: Range epsilon; products are clipped to [1 - epsilon, 1 + epsilon]. Infinite for no clip.
    """
    fixed = log_ratios.detach()
    products = (fixed[..., :, None] + fixed[..., None, :]).exp().clamp(1 - clip, 1 + clip)
    return products * advantages * log_ratios[..., None]


def pairwise_policy_gradient_loss(
    log_probs: Float[Tensor, "prompts samples"],
    sampled_log_probs: Float[Tensor, "prompts samples"],
    rewards: Float[Tensor, "prompts samples"],
    *,
    surrogate: PairSurrogate = separate_clip,
    clip: float = 0.2,
) -> Float[Tensor, ""]:
    """Pairwise proximal policy optimisation over all pairs of a prompt's samples, mean over pairs.

    Its gradient at pi = pi_old is - E[(r_1 - r_2) grad log(pi(y_1) / pi(y_2))] / 2 (Wu et al. 2023, eq. 6),
    which is RLOO's. A number added to all rewards of a prompt changes nothing. The loss's value has no
    meaning.

    Args:
        log_probs: Log-probabilities log pi of samples under the policy, nats.
        sampled_log_probs: Log-probabilities log pi_old under the policy that sampled them; no gradient flows
            into them.
        rewards: Rewards of the samples, usually minus beta times the log-ratio to the reference; no gradient
            flows into them.
        surrogate: Objective of pairs: `separate_clip` or `joint_clip`.
        clip: Range of the clip, above 0; infinite for none.

    Raises:
        InputError: There are fewer than two samples of each prompt, or the range is not positive.
    """
    size = log_probs.shape[-1]
    if size < 2:
        raise InputError(f"pairs require two or more samples of each prompt, found {size}")
    if math.isnan(clip) or clip <= 0:
        raise InputError(f"must be above 0, found {clip}", field="clip")
    fixed = rewards.detach()
    advantages = (fixed[..., :, None] - fixed[..., None, :]) / 2
    parts = surrogate(log_probs - sampled_log_probs.detach(), advantages, clip)
    return -parts.sum((-2, -1)).mean() / (size * (size - 1) / 2)
