"""Advantages of options over the other options of the same decision that recorded episodes took."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sibling_advantages(
    decisions: Int[Tensor, " steps"], actions: Int[Tensor, " steps"], returns: Float[Tensor, " steps"], *,
    weighted: bool = True, scale: bool = False,
) -> Float[Tensor, " steps"]:  # fmt: skip
    """Mean return of each step's option minus the mean over its siblings, the options that other episodes
    took at the same decision (V-STAR's Sibling-GRPO, arXiv 2602.10699, eq. 17 and 18).

    With ``weighted`` each sibling counts as often as it was taken, which estimates Q - V of the behaviour;
    without, all siblings count alike, as in the paper. The paper divides by the siblings' deviation, which
    gives much weight to decisions that hardly matter; so it is off here. A decision at which one option was
    taken gives 0.

    Args:
        decisions: Number of each step's decision.
        actions: Option that was taken.
        returns: Return from the step on.
        weighted: Whether siblings count as often as they were taken.
        scale: Whether to divide by the deviation over siblings, plus 1e-4.

    Returns:
        Advantage of each step's option, in the unit of the returns.
    """
    options, rows = int(actions.max()) + 1, int(decisions.max()) + 1
    cells = decisions * options + actions
    counts, sums = (
        torch.zeros(rows * options, dtype=returns.dtype).index_add(0, cells, values).view(rows, options)
        for values in (torch.ones_like(returns), returns)
    )
    means = sums / counts.clamp_min(1)
    shares = counts if weighted else (counts > 0).to(returns.dtype)
    # Numbers that no step has are rows of zeros.
    shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(1)
    centred = means - (shares * means).sum(dim=1, keepdim=True)
    if scale:
        centred = centred / ((shares * centred.square()).sum(dim=1, keepdim=True).sqrt() + 1e-4)
    # What one option is compared with is itself; sums may leave a rounding error.
    centred = torch.where((counts > 0).sum(dim=1, keepdim=True) > 1, centred, 0.0)
    return centred.flatten()[cells]


def advantage_weights(
    advantages: Float[Tensor, "*batch"], beta: float, largest: float = 100.0
) -> Float[Tensor, "*batch"]:
    """min(exp(A / beta), largest): weights of advantage-weighted cloning (Peng et al. 2019; IQL, Kostrikov
    et al. 2022, eq. 7).

    Args:
        advantages: Advantages A.
        beta: Temperature, in the unit of the advantages.
        largest: Largest weight.
    """
    return (advantages / beta).exp().clamp_max(largest)
