"""Advantages of a group of samples from several rewards: how a vector of rewards becomes one number.

Each function takes rewards of shape (prompts, samples, objectives) and weights of shape (prompts,
objectives) and returns advantages of shape (prompts, samples) whose mean over a prompt's samples is 0
(`gdpo`: over the batch; `fused_sum`: in expectation). Deviations are population deviations. Where all samples
of a prompt have the same reward, its advantages are 0, except those of `fused_sum`.

With w . r the weighted sum, c_k the reward minus its mean over the group and sd its deviation,

    centred_sum = sum_k w_k c_k,    reward_combination = centred_sum / sd(w . r),
    dvao = centred_sum / sum_k w_k sd_k,    advantage_combination = sum_k w_k c_k / sd_k.

So the first three have the same sign everywhere and the weighted sum's optimum; they differ in the size of
steps. `advantage_combination` and `gdpo` correct unequal scales of rewards, and have other optima. Rewards
that are divided once by a constant need no such correction.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.losses.value_prior import leave_one_out_baselines

Rewards = Float[Tensor, "prompts samples objectives"]
Weights = Float[Tensor, "prompts objectives"]
Advantages = Float[Tensor, "prompts samples"]
# Multiple of the precision of numbers below which their differences are rounding.
_ROUNDING = 16


def centred_sum(rewards: Rewards, weights: Weights) -> Advantages:
    """Weighted sum of rewards minus its mean over the group (RLOO and Dr. GRPO up to a constant).

    Args:
        rewards: Rewards of each sample.
        weights: Weights of the objectives for each prompt.
    """
    return torch.einsum("pso,po->ps", _centred(rewards), weights)


def reward_combination(rewards: Rewards, weights: Weights) -> Advantages:
    """GRPO of the weighted sum: `centred_sum` divided by its deviation (Shao et al. 2024).

    Where rewards oppose each other, the deviation is small and noise is amplified.

    Args:
        rewards: Rewards of each sample.
        weights: Weights of the objectives for each prompt.
    """
    total = centred_sum(rewards, weights)
    size = torch.einsum("pso,po->ps", rewards.abs(), weights).amax(dim=1)
    return _divided(total, _deviations(total, size)[:, None])


def advantage_combination(rewards: Rewards, weights: Weights) -> Advantages:
    """Weighted sum of rewards that are standardised in the group, each by itself.

    Args:
        rewards: Rewards of each sample.
        weights: Weights of the objectives for each prompt.
    """
    return torch.einsum("pso,po->ps", _standardised(rewards), weights)


def gdpo(rewards: Rewards, weights: Weights) -> Advantages:
    """`advantage_combination`, standardised over the batch (GDPO; TRL's ``normalize_then_sum``).

    Args:
        rewards: Rewards of each sample.
        weights: Weights of the objectives for each prompt.
    """
    standardised = _standardised(rewards)
    total = torch.einsum("pso,po->ps", standardised, weights)
    size = torch.einsum("pso,po->ps", standardised.abs(), weights).amax()[None]
    centred = total - total.mean()
    return _divided(centred, _deviations(centred.flatten()[None], size))


def dvao(rewards: Rewards, weights: Weights) -> Advantages:
    """`centred_sum` divided by the weighted sum of the deviations (DVAO, Jiang et al. 2026, arXiv
    2605.25604).

    Equal to the paper's sum of standardised rewards with weights in proportion to w_k sd_k. Equal
    deviations make it `advantage_combination`, perfectly correlated rewards `reward_combination`; it is
    never larger than the latter (proposition 2).

    Args:
        rewards: Rewards of each sample.
        weights: Weights of the objectives for each prompt, not negative.
    """
    scale = (_deviations(_centred(rewards), rewards.abs().amax(dim=1)) * weights).sum(dim=1, keepdim=True)
    return _divided(centred_sum(rewards, weights), scale)


def fused_sum(rewards: Rewards, weights: Weights) -> Advantages:
    """`centred_sum` whose leave-one-out baselines are fused with the other prompts' mean (V_0.5, arXiv
    2603.10848, with that mean in place of a value model): for few samples of prompts that are alike.

    With b_i the mean of a sample's siblings, fused with the mean of w . r over the other prompts by the
    variance of their samples (`losses.value_prior.leave_one_out_baselines`), A_i = (r_i - b_i) (G - 1) / G.
    Neither depends on the sample itself, so the gradient is that of `centred_sum` in expectation; where the
    siblings are believed, both are the same number. Equal rewards of a prompt keep an advantage over the
    other prompts (the anchor of VGPO).

    Args:
        rewards: Rewards of each sample.
        weights: Weights of the objectives for each prompt.

    Raises:
        InputError: There is one prompt, or one sample a prompt.
    """
    prompts, samples, _ = rewards.shape
    if prompts < 2:
        raise InputError("expected two or more prompts, whose means are each other's prior", field="rewards")
    totals = torch.einsum("pso,po->ps", rewards, weights)
    means, centred = rewards.mean(dim=1), _centred(rewards)
    within = torch.einsum("pso,psq->poq", centred, centred) / max(1, samples - 1)
    others, spread = ((own.sum(dim=0) - own) / (prompts - 1) for own in (means, within))
    prior = torch.einsum("po,po->p", others, weights)
    variance = torch.einsum("po,poq,pq->p", weights, spread, weights)
    return (totals - leave_one_out_baselines(totals, prior, variance)) * ((samples - 1) / samples)


def influences(rewards: Rewards) -> Float[Tensor, " objectives"]:
    """Influence of each objective on the others, I_j = sum_k Cov(r_j, r_k) within groups, mean over prompts.

    It is the inner product <g_j, sum_k g_k> of the objectives' natural gradients of a softmax policy
    (dynamic reward weighting, Lu et al. 2025, arXiv 2509.11452, eq. 3), without a backward pass. The sum
    includes the objective itself, as in the paper, so steep objectives have much influence.

    Args:
        rewards: Rewards of each sample.
    """
    centred = _centred(rewards)
    return (centred * centred.sum(dim=2, keepdim=True)).mean(dim=(0, 1))


def _centred(rewards: Rewards) -> Rewards:
    return rewards - rewards.mean(dim=1, keepdim=True)


def _standardised(rewards: Rewards) -> Rewards:
    centred = _centred(rewards)
    return _divided(centred, _deviations(centred, rewards.abs().amax(dim=1))[:, None])


def _deviations(
    centred: Float[Tensor, "prompts samples *objectives"], size: Float[Tensor, " prompts *objectives"]
) -> Float[Tensor, " prompts *objectives"]:
    """Population deviation of values with mean 0 over the samples; exactly 0 where it is due to rounding.

    Args:
        centred: The values.
        size: Largest size of the numbers from which they were computed; a difference far below is rounding.
    """
    found = centred.square().mean(dim=1).sqrt()
    return torch.where(found > _ROUNDING * torch.finfo(found.dtype).eps * size, found, 0.0)


def _divided(values: Tensor, scale: Tensor) -> Tensor:
    """Values divided by a scale; 0 where the scale is 0."""
    return torch.where(scale > 0, values / torch.where(scale > 0, scale, 1.0), 0.0)
