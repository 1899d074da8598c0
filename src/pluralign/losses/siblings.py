"""Advantages over siblings: other options of the same decision, or other tokens after the same beginning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
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


def token_advantages(
    paths: Sequence[Sequence[int]], rewards: Float[Tensor, " samples"], *,
    weighted: bool = True, scale: bool = False,
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:  # fmt: skip
    """`sibling_advantages` of the tokens of several samples of one prompt, and which tokens have siblings.

    Samples that share a prefix h are a tree, and the tokens v that follow it in some sample are siblings:
    A(h, v) = R(h, v) - mean over siblings of R(h, .), with R the mean reward of the samples through a token
    (V-STAR, arXiv 2602.10699, eq. 17 and 18). A token that is alone has 0. With ``weighted`` the advantages
    of a sample's tokens add up to its reward (the mean, for a sample that was drawn repeatedly) minus the
    mean reward of all samples.

    Args:
        paths: Token ids of each sample, the end-of-text token included; none of them empty.
        rewards: Reward of each whole sample.
        weighted: Whether siblings count as often as they were drawn.
        scale: Whether to divide by the deviation over siblings, plus 1e-4.

    Returns:
        Advantages, in the unit of the rewards, and whether there are siblings; samples are concatenated in
        their order.
    """
    nodes, children = prefix_tree(paths)
    lengths = torch.tensor([len(path) for path in paths])
    widths = torch.zeros(int(nodes.max()) + 1, dtype=torch.long)
    widths.scatter_reduce_(0, nodes, children + 1, "amax")
    branching = widths[nodes] > 1
    advantages = torch.zeros(len(nodes), dtype=rewards.dtype)
    if bool(branching.any()):
        # Nodes with a single child, which are nearly all, need no row.
        decisions = ((widths > 1).cumsum(0) - 1)[nodes[branching]]
        returns = rewards.repeat_interleave(lengths)[branching]
        advantages[branching] = sibling_advantages(
            decisions, children[branching], returns, weighted=weighted, scale=scale
        )
    return advantages, branching


def prefix_tree(paths: Sequence[Sequence[int]]) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
    """The tree of the prefixes of token sequences.

    Args:
        paths: Token ids of each sequence.

    Returns:
        Number of the prefix that each token follows, and number of the token among those that follow this
        prefix, in order of appearance; sequences are concatenated in their order.
    """
    following: list[dict[int, tuple[int, int]]] = [{}]
    nodes: list[int] = []
    children: list[int] = []
    for path in paths:
        node = 0
        for token in path:
            nodes.append(node)
            if token not in following[node]:
                following[node][token] = (len(following[node]), len(following))
                following.append({})
            child, node = following[node][token]
            children.append(child)
    return torch.tensor(nodes), torch.tensor(children)


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
