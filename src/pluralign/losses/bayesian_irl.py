"""Bayesian inverse reinforcement learning by variational inference: AVRIL and AVA.

A reward is a Gaussian N(mu, sigma^2) with the prior N(0, 1). The softmax of the Q-values is the policy, and
the temporal differences of the Q-values must be likely under the reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pluralign.losses.likelihood import contrastive_sft_loss
from pluralign.losses.reward import bradley_terry


@dataclass(frozen=True, eq=False)
class TokenTerms:
    """Outputs of a TQR head for the tokens of several branches.

    Args:
        log_policy: Log-probability log B(y_t | y_<t; Q), nats.
        q_values: Q-value of the token taken.
        mean: Mean mu of its reward.
        sigma: Standard deviation of its reward, positive.
        owner: Branch of each token; a branch's tokens are contiguous and in order.
    """

    log_policy: Float[Tensor, " tokens"]
    q_values: Float[Tensor, " tokens"]
    mean: Float[Tensor, " tokens"]
    sigma: Float[Tensor, " tokens"]
    owner: Int[Tensor, " tokens"]


def kl_to_standard_normal(
    mean: Float[Tensor, "*batch"], sigma: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """KL[N(mu, sigma^2) || N(0, 1)] = (mu^2 + sigma^2 - 1 - 2 log sigma) / 2, nats, elementwise."""
    return 0.5 * (mean.square() + sigma.square() - 1.0) - sigma.log()


def log_normal_density(
    x: Float[Tensor, "*batch"], mean: Float[Tensor, "*batch"], sigma: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """log N(x; mu, sigma^2), elementwise."""
    return -0.5 * ((x - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)


def td_errors(
    q_values: Float[Tensor, " tokens"], owner: Int[Tensor, " tokens"], gamma: float
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """TD errors delta_t = Q_t - gamma Q_t+1 within each branch (AVA eq. 7), and whether t+1 exists.

    If t+1 does not exist, delta is Q_t and has no meaning.
    """
    has_next = torch.zeros_like(owner, dtype=torch.bool)
    has_next[:-1] = owner[:-1] == owner[1:]
    following = torch.cat([q_values[1:], q_values.new_zeros(1)])
    return q_values - gamma * torch.where(has_next, following, 0.0), has_next


def avril_loss(
    log_policy: Float[Tensor, " steps"],
    td_error: Float[Tensor, " steps"],
    mean: Float[Tensor, " steps"],
    sigma: Float[Tensor, " steps"],
    has_next: Bool[Tensor, " steps"],
    *,
    td_weight: float = 1.0,
    kl_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Negative evidence lower bound of demonstrated steps, mean over steps.

    L = - log B(a|s; Q) + kl KL[q(.|s,a) || N(0,1)] - lambda log q(Q(s,a) - gamma Q(s',a') | s,a)
    (AVA eq. 4, from Chan and van der Schaar 2021; XanderJC/scalable-birl has lambda = kl = 1). That code
    trains on pairs of consecutive steps, so an episode's last step does not enter at all. Here the last step
    contributes its likelihood and prior.

    Args:
        log_policy: Log-probability log B of the option taken, nats.
        td_error: TD error Q(s,a) - gamma Q(s',a'); ignored where ``has_next`` is False.
        mean: Mean mu of the reward of (s,a).
        sigma: Standard deviation of the reward of (s,a), positive.
        has_next: False where the TD error is not known; its term is dropped.
        td_weight: Weight lambda of the TD error's likelihood.
        kl_weight: Weight of the KL divergence from the prior.
    """
    # Masked before the density as well: its gradient at an infinite error is NaN, even when multiplied by 0.
    known = torch.where(has_next, td_error, 0.0)
    density = torch.where(has_next, log_normal_density(known, mean, sigma), 0.0)
    return (-log_policy + kl_weight * kl_to_standard_normal(mean, sigma) - td_weight * density).mean()


def ava_demonstration_loss(
    terms: TokenTerms,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    td_weight: float = 1.0,
    kl_weight: float = 1.0,
    tokens: float,
) -> Float[Tensor, ""]:
    """AVA-d (AVA eq. 13), negated: the sum over tokens, divided by ``tokens``.

    - beta log B(y_t | y_<t; Q) + kl KL[N(mu_t, s_t^2) || N(0,1)] - lambda log N(delta_t; mu_t, s_t^2).
    The paper ends its sum two tokens before the end. Here likelihood and prior cover all tokens, and the TD
    error covers all but the last one, which has no successor.

    Args:
        terms: Head outputs for demonstrated branches.
        beta: Weight of the likelihood.
        gamma: Discount factor.
        td_weight: Weight lambda of the TD error's likelihood.
        kl_weight: Weight of the KL divergence from the prior.
        tokens: Normaliser; with one constant for all parts of a step, their losses add up.
    """
    likelihood = -beta * terms.log_policy.sum() / tokens
    return likelihood + _reward_terms(terms, gamma, td_weight, kl_weight) / tokens


def ava_preference_loss(
    terms: TokenTerms,
    chosen: Bool[Tensor, " branches"],
    negative: Callable[[Float[Tensor, " tokens"]], Float[Tensor, " tokens"]] | None,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    td_weight: float = 1.0,
    kl_weight: float = 1.0,
    tokens: float,
) -> Float[Tensor, ""]:
    """AVA-p (AVA eq. 17), negated: the sum over tokens, divided by ``tokens``.

    Chosen tokens contribute as in AVA-d. For rejected tokens, beta times a penalty replaces the likelihood
    (`contrastive_sft_loss`). Prior and TD error apply to both.

    Args:
        terms: Head outputs for all branches.
        chosen: Whether each branch was chosen.
        negative: Penalty of each rejected token from its log-probability (`losses.likelihood`); None for no
            penalty ("w/o neg").
        beta: Weight of likelihood and penalty.
        gamma: Discount factor.
        td_weight: Weight lambda of the TD error's likelihood.
        kl_weight: Weight of the KL divergence from the prior.
        tokens: Normaliser; see `ava_demonstration_loss`.
    """
    # The sum is divided by the normaliser once.
    likelihood = contrastive_sft_loss(terms.log_policy, chosen[terms.owner], negative, beta=beta, tokens=1.0)
    return (likelihood + _reward_terms(terms, gamma, td_weight, kl_weight)) / tokens


def expected_return_loss(
    chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, " pairs"]
) -> Float[Tensor, ""]:
    """Contrastive expected return: - log sigma(E R+ - E R-), mean over pairs (AVA eq. 18 with the log).

    This is Bradley-Terry on the posterior means.
    """
    return bradley_terry(chosen, rejected).mean()


def literal_expected_return_loss(
    chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, " pairs"]
) -> Float[Tensor, ""]:
    """Contrastive expected return exactly as published: - sigma(E R+ - E R-), mean over pairs (AVA eq. 18).

    Its gradient vanishes on clearly wrong pairs as well as on clearly right ones.
    """
    return -torch.sigmoid(chosen - rejected).mean()


EXPECTED_RETURNS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "log": expected_return_loss,
    "literal": literal_expected_return_loss,
}
"""Contrastive expected returns by the names that command lines take."""


def _reward_terms(terms: TokenTerms, gamma: float, td_weight: float, kl_weight: float) -> Tensor:
    total = terms.mean.new_zeros(())
    if kl_weight:
        total = total + kl_weight * kl_to_standard_normal(terms.mean, terms.sigma).sum()
    if td_weight:
        delta, has_next = td_errors(terms.q_values, terms.owner, gamma)
        # As in `avril_loss`: a NaN gradient would pass through the outer `where`.
        density = log_normal_density(torch.where(has_next, delta, 0.0), terms.mean, terms.sigma)
        total = total - td_weight * torch.where(has_next, density, 0.0).sum()
    return total
