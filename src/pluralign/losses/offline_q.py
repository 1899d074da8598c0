"""Targets of Q-learning over listed options from recorded episodes, with a vector of values for each option.

An option's values are its returns to go by objective. Whatever a target takes a maximum, a minimum or an
expectile of, it takes of the weighted sum w . Q and backs up the whole vector of the option, head or mixture
that it chose; with one-hot weights this is the learner of one objective. Returns are not discounted unless
said so.

Shapes: N heads, B rows, A options, K objectives.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Values = Float[Tensor, "rows options objectives"]
Weights = Float[Tensor, "rows objectives"]
Options = Bool[Tensor, "rows options"]


def least_values(values: Float[Tensor, "heads rows options objectives"], weights: Weights) -> Values:
    """The values of each option by the head with the smallest weighted sum (RAVL, Sims et al. 2024, after
    EDAC's minimum over critics).

    Args:
        values: Values by each head.
        weights: Weights of the objectives, one row each.
    """
    head = torch.einsum("nbak,bk->nba", values, weights).argmin(dim=0)
    return values.gather(0, head[None, :, :, None].expand(1, *values.shape[1:]))[0]


def best_value(values: Values, weights: Weights, allowed: Options) -> Float[Tensor, "rows objectives"]:
    """Values of the option with the largest weighted sum.

    Args:
        values: Values of the options.
        weights: Weights of the objectives.
        allowed: Options to choose from; at least one in each row.
    """
    total = torch.einsum("bak,bk->ba", values, weights)
    best = total.masked_fill(~allowed, -torch.inf).argmax(dim=1)
    return taken_value(values, best)


def taken_value(values: Values, actions: Int[Tensor, " rows"]) -> Float[Tensor, "rows objectives"]:
    """Values of one option of each row: that of the recorded episode (SARSA), or the greedy option of a fixed
    reference policy (B-Coder, Yu et al. 2024, eq. 14: one step of improvement over that policy).

    Args:
        values: Values of the options.
        actions: Index of each row's option.
    """
    return values[torch.arange(len(values), device=values.device), actions]


def expectile_value(
    values: Values, weights: Weights, shares: Float[Tensor, "rows options"], tau: float
) -> Float[Tensor, "rows objectives"]:
    """Expectile of the values under the behaviour's shares of the options (IQL, Kostrikov et al. 2022).

    The tau-expectile e of q = w . Q solves sum_a p_a |tau - 1(q_a < e)| (q_a - e) = 0. The options' shares
    in it, p_a |tau - 1(q_a < e)|, mix the vectors. tau = 0.5 is the mean, tau -> 1 the largest value that the
    behaviour has taken. IQL learns e by a network of the state; over listed options it is exact.

    Args:
        values: Values of the options.
        weights: Weights of the objectives.
        shares: Shares of the options in the behaviour, not negative; 0 at padding. A row of zeros gives 0.
        tau: Level in (0, 1).
    """
    total = torch.einsum("bak,bk->ba", values, weights)
    mixed = shares
    # Newton's method on a piecewise linear function ends after at most one step for each piece.
    for _ in range(total.shape[1] + 1):
        level = _mean(total, mixed)
        mixed = shares * torch.where(total < level[:, None], 1 - tau, tau)
    mixed = mixed / mixed.sum(dim=1, keepdim=True).clamp_min(torch.finfo(mixed.dtype).tiny)
    return torch.einsum("bak,ba->bk", values, mixed)


def conservative_penalty(
    values: Values, weights: Weights, held: Options, actions: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """logsumexp_a w . Q(s, a) - w . Q(s, taken), whose gradient is softmax minus one-hot (CQL, Kumar et al.
    2020, eq. 4).

    Args:
        values: Values of the options.
        weights: Weights of the objectives.
        held: Existing options; the others are padding.
        actions: Index of the option taken.
    """
    total = torch.einsum("bak,bk->ba", values, weights)
    everything = total.masked_fill(~held, -torch.inf).logsumexp(dim=1)
    return everything - total[torch.arange(len(total), device=total.device), actions]


def steps_ahead(
    rewards: Float[Tensor, "steps objectives"],
    lengths: Int[Tensor, " episodes"],
    terminated: Bool[Tensor, " episodes"],
    n: int,
    gamma: float = 1.0,
) -> tuple[
    Float[Tensor, "steps objectives"], Int[Tensor, " steps"], Float[Tensor, " steps"], Bool[Tensor, " steps"]
]:
    """The part of n-step targets that does not change: sums of rewards, and where they are continued.

    target(t) = sum_{i < m} gamma^i r_{t+i} + gamma^m value(s_{t+m}), where m is n, or less where the episode
    is shorter. Nothing follows a terminated episode. The last steps of a truncated one are continued from its
    last decision; that last step itself has no target, since what followed is unknown.

    Args:
        rewards: Rewards of all steps, episode after episode.
        lengths: Number of steps of each episode.
        terminated: Whether each episode ended by itself.
        n: Number of steps before a target continues from a value.
        gamma: Discount factor.

    Returns:
        Sums of rewards; the step whose decision a target continues from (the step itself where there is
        none); the factor of that decision's value, 0 where nothing follows; and whether the step has a
        target.
    """
    steps = len(rewards)
    ends = lengths.cumsum(0).repeat_interleave(lengths)
    ended = terminated.repeat_interleave(lengths)
    place = torch.arange(steps)
    # A truncated episode is continued from its last decision at the latest.
    limit = torch.where(ended, ends, ends - 1)
    stop = torch.minimum(place + n, limit)
    sums = torch.zeros_like(rewards)
    for ahead in range(int((stop - place).max()) if steps else 0):
        inside = place + ahead < stop
        later = (place + ahead).clamp_max(steps - 1)
        sums += torch.where(inside[:, None], gamma**ahead * rewards[later], 0.0)
    over = stop >= ends
    factors = torch.where(over, 0.0, gamma ** (stop - place).to(rewards.dtype))
    return sums, torch.where(over, place, stop), factors, stop > place


def language_model_values(
    logits: Float[Tensor, "*batch options"], state_value: Float[Tensor, "*batch"], alpha: float = 1.0
) -> Float[Tensor, "*batch options"]:
    """Q(s, a) = alpha (l(s, a) - max_b l(s, b)) + V(s): values whose softmax at temperature alpha is the
    language model's own distribution (B-Coder, Yu et al. 2024, eq. 7 and 11).

    Args:
        logits: Logits l of the options.
        state_value: V(s), the value of the best option.
        alpha: Temperature.
    """
    return alpha * (logits - logits.amax(dim=-1, keepdim=True)) + state_value[..., None]


def _mean(
    values: Float[Tensor, "rows options"], shares: Float[Tensor, "rows options"]
) -> Float[Tensor, " rows"]:
    return (values * shares).sum(dim=1) / shares.sum(dim=1).clamp_min(torch.finfo(shares.dtype).tiny)
