"""Contrastive losses on preference pairs: log pi takes the place of a learned reward."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from pluralign.core.checks import require_positive


def segment_advantages(
    log_probs: Float[Tensor, "pairs steps"],
    mask: Bool[Tensor, "pairs steps"],
    reference_log_probs: Float[Tensor, "pairs steps"] | None = None,
    *,
    alpha: float,
    gamma: float = 1.0,
) -> Float[Tensor, " pairs"]:
    """Discounted sum of a segment's advantages.

    A = sum_t gamma^t alpha (log pi(a_t|s_t) [- log pi_ref(a_t|s_t)])  (CPL eq. 5 with the poster's eq. 2;
    with the reference: CPL-KL, whose advantage is that of KL-regularised control).

    Args:
        log_probs: Log-probabilities log pi of the options taken, nats; t counts from the first column.
        mask: True at a segment's steps; other entries are ignored.
        reference_log_probs: Log-probabilities log pi_ref of the same options; no gradient flows into it.
        alpha: Temperature of the advantage.
        gamma: Discount factor per step.
    """
    gains = log_probs if reference_log_probs is None else log_probs - reference_log_probs.detach()
    discounts = gamma ** torch.arange(log_probs.shape[1], device=log_probs.device, dtype=log_probs.dtype)
    return alpha * (torch.where(mask, gains, 0.0) * discounts).sum(dim=1)


def contrastive_preference_loss(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    label_weights: Float[Tensor, " pairs"] | None = None,
    *,
    conservative_bias: float = 0.5,
) -> Float[Tensor, ""]:
    """Contrastive preference loss from segment advantages, mean over pairs.

    L = w softplus(lambda A- - A+) + (1 - w) softplus(lambda A+ - A-)  (CPL eq. 9, Hejna et al. 2024;
    lambda = 1 is the poster's eq. 1). The second term is the expectation over a label that is right with
    probability w; jhejna/cpl's `biased_bce_with_logits` has the same two sides.

    Args:
        chosen: Advantage A+ of each pair's chosen segment.
        rejected: Advantage A- of each pair's rejected segment.
        label_weights: Probability w that the label is right: 1 for certain, 0.5 for a tie. All 1 by default.
        conservative_bias: Factor lambda in (0, 1]; below 1 the loss decreases as both segments become more
            likely, which keeps the policy near the data.
    """
    loss = softplus(conservative_bias * rejected - chosen)
    if label_weights is not None:
        other = softplus(conservative_bias * chosen - rejected)
        loss = label_weights * loss + (1.0 - label_weights) * other
    return loss.mean()


def label_expectation(
    losses: Float[Tensor, " pairs"],
    flipped: Float[Tensor, " pairs"],
    label_weights: Float[Tensor, " pairs"],
) -> Float[Tensor, ""]:
    """Expected loss of pairs under labels that may be wrong, mean over pairs.

    E[L] = w L(y+, y-) + (1 - w) L(y-, y+): for a tie, w = 1/2, both directions have equal weight.

    Args:
        losses: Loss of each pair as labelled.
        flipped: Loss of each pair with chosen and rejected exchanged.
        label_weights: Probability w that the label is right.
    """
    return (label_weights * losses + (1.0 - label_weights) * flipped).mean()


def labelled_accuracy(
    margins: Float[Tensor, " pairs"], label_weights: Float[Tensor, " pairs"]
) -> float | None:
    """Share of the pairs with a label that are ordered as labelled; None if there are none.

    Ties, w = 1/2, have no label and are left out. Equal numbers count half.

    Args:
        margins: Number of the chosen minus that of the rejected side of each pair.
        label_weights: Probability w that the label is right.
    """
    labelled = margins[(label_weights > 0.5).to(margins.device)]
    if not len(labelled):
        return None
    return float(((labelled > 0).float() + 0.5 * (labelled == 0).float()).mean())


def dpo(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    *,
    beta: float = 0.1,
) -> Float[Tensor, " pairs"]:
    """Direct preference optimisation, one loss per pair.

    L = - log sigma(beta [(log pi(y+) - log pi_ref(y+)) - (log pi(y-) - log pi_ref(y-))]) (Rafailov et al.
    2023, eq. 7): contrastive preference learning with a reference on pairs of one step.

    Args:
        chosen: Log-probability log pi of the chosen completion, summed over its tokens, nats.
        rejected: Log-probability log pi of the rejected completion.
        reference_chosen: Log-probability log pi_ref of the chosen completion; no gradient flows into it.
        reference_rejected: Log-probability log pi_ref of the rejected completion.
        beta: Temperature of the implicit reward, above 0.

    Examples:
        >>> import torch
        >>> import pluralign as pl
        >>> pl.losses.dpo(*torch.tensor([[-1.0], [-2.0], [-3.0], [-1.0]]), beta=0.5)
        tensor([0.2014])
    """
    require_positive(beta=beta)
    gain = beta * (chosen - reference_chosen.detach())
    loss_of_rejected = beta * (rejected - reference_rejected.detach())
    return softplus(loss_of_rejected - gain)


def ipo(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    *,
    tau: float = 0.1,
) -> Float[Tensor, " pairs"]:
    """Identity preference optimisation, one loss per pair.

    L = (h - 1 / (2 tau))^2, h = (log pi(y+) - log pi_ref(y+)) - (log pi(y-) - log pi_ref(y-)) (Azar et al.
    2024, eq. 17). Unlike DPO, the target for each pair is bounded, so certain labels do not drive the policy
    arbitrarily far from the reference. (TRL's variant averages log-probabilities over tokens.)

    Args:
        chosen: Log-probability log pi of the chosen completion, summed over its tokens, nats.
        rejected: Log-probability log pi of the rejected completion.
        reference_chosen: Log-probability log pi_ref of the chosen completion; no gradient flows into it.
        reference_rejected: Log-probability log pi_ref of the rejected completion.
        tau: Strength of the regularisation towards the reference, above 0; the target of h is 1 / (2 tau)
            nats.

    Examples:
        >>> import torch
        >>> import pluralign as pl
        >>> pl.losses.ipo(*torch.tensor([[-1.0], [-2.0], [-3.0], [-1.0]]), tau=0.5)
        tensor([4.])
    """
    require_positive(tau=tau)
    gain = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
    return (gain - 1 / (2 * tau)).square()


def simpo(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"] | None = None,
    reference_rejected: Float[Tensor, " pairs"] | None = None,
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> Float[Tensor, " pairs"]:
    """Simple preference optimisation, one loss per pair.

    L = - log sigma(beta (log pi(y+) / |y+| - log pi(y-) / |y-|) - gamma) (Meng et al. 2024, eq. 6). It needs
    no reference.

    Args:
        chosen: Mean log pi of the chosen completion's tokens, nats per token.
        rejected: Mean log pi of the rejected completion's tokens.
        reference_chosen: Not used.
        reference_rejected: Not used.
        beta: Scale of the reward difference, above 0 (paper: 2.0 to 2.5).
        gamma: Margin by which the chosen completion's reward should exceed the rejected one's (paper: 0.3 to
            1.6, as gamma / beta from 0.1 to 0.8).

    Examples:
        >>> import torch
        >>> import pluralign as pl
        >>> pl.losses.simpo(torch.tensor([-1.0]), torch.tensor([-1.5]), beta=2.0, gamma=1.0)
        tensor([0.6931])
    """
    require_positive(beta=beta)
    return softplus(gamma - beta * (chosen - rejected))


def modpo(
    chosen: Float[Tensor, " pairs"],
    rejected: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    margin_chosen: Float[Tensor, " pairs"],
    margin_rejected: Float[Tensor, " pairs"],
    *,
    weight: float,
    beta: float = 0.1,
) -> Float[Tensor, " pairs"]:
    """Multi-objective direct preference optimisation, one loss per pair.

    L = - log sigma(r+ - r-), r = (beta (log pi - log pi_ref) - w_{-1} . r_margin) / w_0 (Zhou et al. 2024):
    beta (log pi - log pi_ref) is the weighted sum of all rewards, so the part that the other rewards do not
    account for explains the preferences. At w = (1, 0) this is `dpo`.

    Args:
        chosen: Log-probability log pi of the chosen completion, summed over its tokens, nats.
        rejected: Log-probability log pi of the rejected completion.
        reference_chosen: Log-probability log pi_ref of the chosen completion; no gradient flows into it.
        reference_rejected: Log-probability log pi_ref of the rejected completion.
        margin_chosen: Weighted rewards w_{-1} . r_margin of the chosen completion by the other objectives, in
            nats of log-odds like the preferences' own reward; no gradient flows into it.
        margin_rejected: Weighted rewards w_{-1} . r_margin of the rejected completion.
        weight: Weight w_0 > 0 of the objective of the preferences.
        beta: Temperature of the implicit reward, above 0.
    """
    require_positive(weight=weight, beta=beta)
    better = (beta * (chosen - reference_chosen.detach()) - margin_chosen.detach()) / weight
    worse = (beta * (rejected - reference_rejected.detach()) - margin_rejected.detach()) / weight
    return softplus(worse - better)


def cpl_loss(
    chosen_log_probs: Float[Tensor, "pairs steps"],
    rejected_log_probs: Float[Tensor, "pairs steps"],
    chosen_mask: Bool[Tensor, "pairs steps"],
    rejected_mask: Bool[Tensor, "pairs steps"],
    *,
    label_weights: Float[Tensor, " pairs"] | None = None,
    chosen_reference_log_probs: Float[Tensor, "pairs steps"] | None = None,
    rejected_reference_log_probs: Float[Tensor, "pairs steps"] | None = None,
    alpha: float = 0.1,
    conservative_bias: float = 0.5,
    gamma: float = 1.0,
) -> Float[Tensor, ""]:
    """Contrastive preference learning on pairs of segments, mean over pairs.

    L = softplus(lambda A- - A+), A± = sum_t gamma^t alpha log pi(a_t|s_t) (poster eq. 1-2; CPL eq. 9), with
    references alpha (log pi - log pi_ref) (CPL-KL). On one-step pairs with references and lambda = 1 this is
    DPO with beta = alpha.

    Args:
        chosen_log_probs: Log-probabilities log pi of the options taken in the chosen segments, nats.
        rejected_log_probs: Log-probabilities log pi of the options taken in the rejected segments, nats.
        chosen_mask: True at the chosen segments' steps.
        rejected_mask: True at the rejected segments' steps.
        label_weights: Probability that each label is right (0.5: a tie); all 1 by default.
        chosen_reference_log_probs: Log-probabilities log pi_ref of the chosen segments; give both references
            or neither.
        rejected_reference_log_probs: Log-probabilities log pi_ref of the rejected segments.
        alpha: Temperature of the advantage (jhejna/cpl: 0.1).
        conservative_bias: Factor lambda of the rejected side (jhejna/cpl: 0.5).
        gamma: Discount factor per step (jhejna/cpl: 1).
    """
    chosen = segment_advantages(
        chosen_log_probs, chosen_mask, chosen_reference_log_probs, alpha=alpha, gamma=gamma
    )
    rejected = segment_advantages(
        rejected_log_probs, rejected_mask, rejected_reference_log_probs, alpha=alpha, gamma=gamma
    )
    return contrastive_preference_loss(chosen, rejected, label_weights, conservative_bias=conservative_bias)
