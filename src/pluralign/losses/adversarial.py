"""Losses and rewards of adversarial imitation: discriminator loss, policy rewards, f-divergences.

Let p be the demonstrator's distribution over completions, pi the policy's, u = p / pi, and
D_f(p || pi) = E_pi[f(u)] for a convex f with f(1) = 0. The derivative of pi f(p / pi) by pi is
f(u) - u f'(u), so

    grad D_f = - E_pi[(u f'(u) - f(u)) grad log pi] :

a policy gradient step on the reward u f'(u) - f(u), which is the f*(f'(u)) of eq. 25 of Inverse-RLignment (f*
is the conjugate of f), is a gradient descent step on D_f. The optimal discriminator's logit
(`discriminator_loss`) is h = log u, and the rewards here are functions of h. They are constants with respect
to the policy: the dependence of u on pi is already accounted for.

The reward published with FAIRL (Ghasemipour et al. 2020) is different: - h exp(h) = - f(u). It treats u as
constant in the gradient of E_pi[f(u)], and so lacks the term u f'(u). Near u = 1 it decreases in u, where the
gradient needs an increasing reward: the policy moves away from what the demonstrator does more often than it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from pluralign.core import InputError


def discriminator_loss(
    positives: Float[Tensor, "*positives"],
    negatives: Float[Tensor, "*negatives"],
    positive_weights: Float[Tensor, "*positives"] | None = None,
    negative_weights: Float[Tensor, "*negatives"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of logits that separate positives from negatives, unpaired, nats.

    L = - (E+ log sigma(r) + E- log(1 - sigma(r))) / 2 (Inverse-RLignment eq. 11, halved); at its optimum
    r = log p+ - log p-, which is the reward of eq. 12.

    Args:
        positives: Logits r of demonstrations (or of completions used as demonstrations).
        negatives: Logits r of the policy's samples.
        positive_weights: Weights of the mean over positives; all 1 by default.
        negative_weights: Weights of the mean over negatives; all 1 by default.
    """
    return (_mean(softplus(-positives), positive_weights) + _mean(softplus(negatives), negative_weights)) / 2


@dataclass(frozen=True)
class Divergence:
    """An f-divergence D_f(demonstrator || policy), given by three functions.

    Adding c (u - 1) to f adds c to reward and witness and does not change the divergence. The generators are
    the paper's; reward and witness belong to the c with the simplest reward.

    Args:
        name: Name in cards and reports.
        generator: Function f of the ratio u = p / pi (any shape; at 0 its limit, which may be infinite).
        reward: Function u f'(u) - f(u) of the logit h = log u: the reward that the policy maximises (eq. 25).
        witness: Function f'(u) of the logit h: the term of the demonstrations in eq. 24.
    """

    name: str
    generator: Callable[[Tensor], Tensor]
    reward: Callable[[Tensor], Tensor]
    witness: Callable[[Tensor], Tensor]


LARGEST_EXPONENT = 80.0
"""Upper limit of exponents: exp(80) = 5.5e34 is within float32, as is a sum of a thousand such terms."""


def airl_reward(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """r = h, of f(u) = - log u: D_f = KL(pi || p), mode-seeking (AIRL; Inverse-RLignment eq. 10, 12)."""
    return logits


def gail_reward(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """r = softplus(h) - log 2 = - log(1 - D) - log 2, of f(u) = u log u - (u + 1) log((1 + u) / 2).

    D_f is twice the Jensen-Shannon divergence (GAIL; Inverse-RLignment eq. 34-36).
    """
    return softplus(logits) - _LOG_2


def fairl_reward(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """r = exp(h), of f(u) = u log u: D_f = KL(p || pi), mass-covering (FAIRL).

    Not the published - h exp(h), which does not follow the gradient (see the module). Exponents are clipped
    at `LARGEST_EXPONENT`.
    """
    return logits.clamp(max=LARGEST_EXPONENT).exp()


def alpha_reward(logits: Float[Tensor, "*shape"], alpha: float) -> Float[Tensor, "*shape"]:
    """r = (exp((1 - a) h) - 1) / (1 - a), of f(u) = (u^(1-a) - (1 - a) u - a) / (a (a - 1)).

    (Inverse-RLignment App. D.) It is AIRL's reward at a = 1 and FAIRL's minus 1 at a = 0; at a = 1/2 D_f is
    four times the squared Hellinger distance 1 - sum sqrt(p pi). Exponents are clipped at `LARGEST_EXPONENT`.

    Args:
        logits: Discriminator logits h.
        alpha: Parameter a; larger values are more mode-seeking.
    """
    return _powered(logits, 1.0 - alpha)


def airl_generator(ratios: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(u) = - log u, infinite at 0."""
    return -ratios.log()


def gail_generator(ratios: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(u) = u log u - (u + 1) log((1 + u) / 2), log 2 at 0."""
    return torch.xlogy(ratios, ratios) - (ratios + 1) * ((1 + ratios) / 2).log()


def fairl_generator(ratios: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(u) = u log u, 0 at 0."""
    return torch.xlogy(ratios, ratios)


def alpha_generator(ratios: Float[Tensor, "*shape"], alpha: float) -> Float[Tensor, "*shape"]:
    """f(u) = (u^(1-a) - (1 - a) u - a) / (a (a - 1)).

    Its limits are u - 1 - log u at a = 1 and u log u - u + 1 at a = 0.

    Args:
        ratios: Ratios u.
        alpha: Parameter a.
    """
    if alpha == 0.0:
        return torch.xlogy(ratios, ratios) - ratios + 1
    if alpha == 1.0:
        return ratios - 1 - ratios.log()
    return (ratios ** (1 - alpha) - (1 - alpha) * ratios - alpha) / (alpha * (alpha - 1))


def alpha_divergence(alpha: float) -> Divergence:
    """The alpha-divergence of App. D of Inverse-RLignment.

    Args:
        alpha: Parameter a, any finite number; 0 is KL(p || pi), 1 is KL(pi || p).

    Raises:
        InputError: The parameter is not finite.
    """
    if not math.isfinite(alpha):
        raise InputError(f"must be finite, found {alpha}", field="alpha")
    return Divergence(
        f"alpha {alpha:g}",
        partial(alpha_generator, alpha=alpha),
        partial(alpha_reward, alpha=alpha),
        partial(_alpha_witness, alpha=alpha),
    )


def f_divergence(
    log_p: Float[Tensor, "*shape outcomes"],
    log_q: Float[Tensor, "*shape outcomes"],
    generator: Callable[[Tensor], Tensor],
) -> Float[Tensor, "*shape"]:
    """D_f(p || q) = sum q f(p / q) of two discrete distributions, in nats if f is in nats.

    Args:
        log_p: Log-probabilities of the demonstrator; -inf where its probability is 0.
        log_q: Log-probabilities of the policy, all finite.
        generator: Generator f.
    """
    return (log_q.exp() * generator((log_p - log_q).exp())).sum(-1)


def divergence_bound(
    demonstrations: Float[Tensor, " demonstrations"],
    samples: Float[Tensor, " samples"],
    divergence: Divergence,
) -> Float[Tensor, ""]:
    """Lower bound on D_f from a discriminator's logits: E_p[f'(u)] - E_pi[f*(f'(u))] (eq. 23-24).

    In expectation it never exceeds D_f, for any discriminator that was not trained on these texts. For the
    optimal discriminator it equals D_f.

    Args:
        demonstrations: Logits h of demonstrations.
        samples: Logits h of the policy's samples.
        divergence: The f-divergence.
    """
    return divergence.witness(demonstrations).mean() - divergence.reward(samples).mean()


_LOG_2 = 0.6931471805599453


def _powered(logits: Tensor, power: float) -> Tensor:
    """(exp(power h) - 1) / power, h at power 0."""
    if power == 0.0:
        return logits
    return (power * logits).clamp(max=LARGEST_EXPONENT).expm1() / power


def _gail_witness(logits: Tensor) -> Tensor:
    return _LOG_2 - softplus(-logits)


def _alpha_witness(logits: Tensor, alpha: float) -> Tensor:
    """(1 - u^-a) / a, log u at a = 0."""
    return _powered(logits, -alpha)


def _fairl_witness(logits: Tensor) -> Tensor:
    return logits + 1


AIRL = Divergence("airl", airl_generator, airl_reward, partial(_alpha_witness, alpha=1.0))
"""KL(policy || demonstrator)."""
GAIL = Divergence("gail", gail_generator, gail_reward, _gail_witness)
"""Twice the Jensen-Shannon divergence."""
FAIRL = Divergence("fairl", fairl_generator, fairl_reward, _fairl_witness)
"""KL(demonstrator || policy)."""


DIVERGENCES: Mapping[str, Divergence] = {"airl": AIRL, "gail": GAIL, "fairl": FAIRL}
"""Divergences without a parameter by the names that command lines take."""


def named_divergence(name: str, alpha: float | None = None) -> Divergence:
    """A divergence by its name.

    >>> named_divergence("alpha", 0.25).name
    'alpha 0.25'

    Args:
        name: A key of `DIVERGENCES`, or ``alpha``.
        alpha: Parameter of the alpha-divergence; 0.5 by default.

    Raises:
        InputError: There is no such divergence, another one than ``alpha`` was given the parameter, or it is
            not finite.
    """
    if name == "alpha":
        return alpha_divergence(0.5 if alpha is None else alpha)
    if alpha is not None:
        raise InputError("requires --divergence alpha", field="alpha")
    if name not in DIVERGENCES:
        raise InputError(f"expected {', '.join(DIVERGENCES)} or alpha, found {name!r}", field="divergence")
    return DIVERGENCES[name]


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()
