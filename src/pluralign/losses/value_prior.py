"""Means of samples fused with a prior value, and the rules for how many samples are worth their price.

A prior value V of a prompt and the mean m of k samples are both estimates of its mean reward: V with an
unknown bias, m with the squared standard error s = sigma^2 / k. The weight of m that minimises the squared
error of a mixture is bias^2 / (bias^2 + s); with the bias estimated by bias^2 = ((m - V)^2 - s)_+ it is the
positive-part James-Stein estimator (James and Stein 1961; Baranchik 1964). V_0.5 (arXiv 2603.10848) describes
its baseline of reinforcement learning in these terms, and buys samples by a rule that looks one step ahead.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.core.checks import require_positive

# Newton's steps to the reservation value, at most; enough for prices down to the smallest numbers.
_STEPS = 100


def fuse(
    prior: Float[Tensor, "*batch"], mean: Float[Tensor, "*batch"], error: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    """Prior value and sample mean fused: b = V + (1 - s / (m - V)^2)_+ (m - V).

    If they differ by less than one standard error, the result is the prior. The error is below that of the
    mean alone while the prior is right to 1.17 standard errors of the mean. For larger biases it is above, by
    49 % at 2.4 standard errors and by 5 % at eight: the prior is wrong, but not obviously so.

    Args:
        prior: Prior value V of each prompt.
        mean: Mean m of its samples' rewards.
        error: Squared standard error s of the mean, the variance of one sample divided by their number.
    """
    gap = mean - prior
    apart = gap.square()
    return prior + torch.where(apart > error, 1 - error / apart, 0.0) * gap


def fused_risk(
    prior: Float[Tensor, "*batch"], mean: Float[Tensor, "*batch"], error: Float[Tensor, "*#batch"],
    later: Float[Tensor, "*#batch"] | None = None,
) -> Float[Tensor, "*batch"]:  # fmt: skip
    """Estimated squared error of `fuse`: bias^2 s / (bias^2 + s) with bias^2 = ((m - V)^2 - s)_+.

    Args:
        prior: Prior value V of each prompt.
        mean: Mean m of its samples' rewards.
        error: Squared standard error s of the mean, from which the bias is estimated.
        later: Squared standard error for which the risk is asked, of more samples; by default ``error``.
    """
    bias = ((mean - prior).square() - error).clamp_min(0.0)
    then = error if later is None else later
    return torch.where(bias > 0, bias * then / (bias + then), 0.0)


def worth_one_more(
    prior: Float[Tensor, "*batch"], mean: Float[Tensor, "*batch"], variance: Float[Tensor, "*#batch"],
    samples: Float[Tensor, "*batch"], price: float,
) -> Bool[Tensor, "*batch"]:  # fmt: skip
    """Whether one more sample is worth its price: risk(k) - risk(k + 1) > price sigma^2.

    The rule ends early where samples agree with the prior by chance. It saves samples where priors are right
    or plainly wrong; if most are off by about two standard errors of the first samples, what it ends with is
    worse than the mean of as many samples.

    Args:
        prior: Prior value V of each prompt.
        mean: Mean m of its samples' rewards.
        variance: Variance sigma^2 of one sample's reward (`pooled_variance`).
        samples: Number k of samples so far, at least 1.
        price: Price of a sample, in units of the variance.

    Raises:
        InputError: The price is not above 0.
    """
    require_positive(price=price)
    now, later = variance / samples, variance / (samples + 1)
    saved = fused_risk(prior, mean, now) - fused_risk(prior, mean, now, later)
    return saved > price * variance


def pooled_variance(rewards: Float[Tensor, "prompts samples"]) -> Float[Tensor, ""]:
    """Variance of one sample's reward around its prompt's mean, pooled over prompts: few samples of a prompt
    say little about their own variance.

    Args:
        rewards: Rewards of each prompt's samples.

    Raises:
        InputError: There is one sample a prompt.
    """
    if rewards.shape[1] < 2:
        raise InputError("a variance needs two or more samples of a prompt", field="rewards")
    return rewards.var(dim=1).mean()


def bounded_variance(
    variance: Float[Tensor, "*#batch"], prior: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """A variance that is at most V (1 - V), the largest of rewards from 0 to 1 whose mean is V.

    Args:
        variance: Variance of one sample's reward.
        prior: Prior value V of each prompt, from 0 to 1.
    """
    return torch.minimum(variance, prior * (1 - prior))


def leave_one_out_baselines(
    rewards: Float[Tensor, "prompts samples"], prior: Float[Tensor, " prompts"],
    variance: Float[Tensor, "*prompts"] | float,
) -> Float[Tensor, "prompts samples"]:  # fmt: skip
    """Baseline of each sample's policy gradient: the mean of the *other* samples, fused with the prior.

    The gradient sum_i (r_i - b_i) grad log pi is unbiased because b_i does not depend on the sample itself;
    the fused mean of the whole group would be another objective's. Where all rewards of a group are equal,
    relative advantages are 0, and those against this baseline are not (the anchor of VGPO).

    Args:
        rewards: Rewards of each prompt's samples.
        prior: Prior value V of each prompt.
        variance: Variance of one sample's reward, of all prompts or of each; to be exact it must not depend
            on these samples either (take earlier ones).

    Raises:
        InputError: There is one sample a prompt.
    """
    samples = rewards.shape[1]
    if samples < 2:
        raise InputError("a leave-one-out baseline needs two or more samples", field="rewards")
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (samples - 1)
    error = torch.as_tensor(variance, dtype=rewards.dtype, device=rewards.device) / (samples - 1)
    return fuse(prior[:, None].expand_as(others), others, error.reshape(-1, 1))


def expected_excess(score: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """E (X - z)_+ of a standard normal X: phi(z) - z (1 - Phi(z)).

    Args:
        score: Threshold z.
    """
    density = torch.exp(-score.square() / 2) / math.sqrt(2 * math.pi)
    return density - score * _above(score)


def reservation_value(
    mean: Float[Tensor, "*batch"], deviation: Float[Tensor, "*#batch"], price: float
) -> Float[Tensor, "*batch"]:
    """Reward at which further samples are no longer worth their price (Weitzman 1979, "Optimal search for
    the best alternative").

    It is mu + z sigma, where the expected excess of one more sample over it equals the price:
    phi(z) - z (1 - Phi(z)) = price / sigma. For rewards N(mu, sigma^2) with known mu and sigma it is optimal
    to stop at the first sample at or above it, and the expected reward minus all prices then equals it.

    Args:
        mean: Mean reward mu of each prompt.
        deviation: Standard deviation sigma of one sample's reward; 0 gives mu - price.
        price: Price of a sample, in the unit of the rewards.

    Raises:
        InputError: The price is not above 0.
    """
    require_positive(price=price)
    # A deviation far below the price, or of 0, gives mu - price.
    deviation = deviation.double().clamp_min(1e-12 * price)
    cost = price / deviation
    score = -cost
    for _ in range(_STEPS):
        # The excess is convex and larger than the cost at the start, so Newton's steps approach from below.
        nearer = score + (expected_excess(score) - cost).clamp_min(0.0) / _above(score)
        if torch.equal(nearer, score):
            break
        score = nearer
    return (mean + deviation * score).to(mean.dtype)


def empirical_reservation_value(
    rewards: Float[Tensor, "*batch samples"], price: float
) -> Float[Tensor, "*batch"]:
    """`reservation_value` of the distribution in which each of the given rewards is equally likely.

    The expected excess of one more sample over z, mean_i (x_i - z)_+, is the largest over m of
    (x_(1) + ... + x_(m) - m z) / n with x_(1) >= x_(2) >= ..., so it equals the price at exactly
    z = max_m (x_(1) + ... + x_(m) - n price) / m. Nothing above the largest reward is expected.

    Args:
        rewards: Rewards x of n samples of one distribution.
        price: Price of a sample, in the unit of the rewards.

    Raises:
        InputError: There is no reward, or the price is not above 0.
    """
    require_positive(price=price)
    number = rewards.shape[-1]
    if not number:
        raise InputError("expected at least one reward, found none", field="rewards")
    sums = rewards.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    counts = torch.arange(1, number + 1, dtype=rewards.dtype, device=rewards.device)
    return ((sums - number * price) / counts).amax(dim=-1)


def _above(score: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Probability that a standard normal number is above a score."""
    return torch.erfc(score / math.sqrt(2)) / 2
