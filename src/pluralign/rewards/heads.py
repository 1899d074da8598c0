"""Reward heads: a Gaussian reward for every token of a forest's branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.lm.forest import Forest
from pluralign.lm.vocabulary import branch_sum
from pluralign.losses.reward import attention_weights
from pluralign.rewards.shapes import HeadShape

# Outside this range a Gaussian is degenerate or uninformative, and its density overflows.
_LOG_SIGMA = (-5.0, 3.0)
# Attention weights may be arbitrarily small; without this bound the log-density would be unbounded.
_LEAST_SIGMA = 1e-4


@dataclass(frozen=True, eq=False)
class GaussianRewards:
    """Gaussian rewards of tokens or branches.

    Args:
        mean: Means, shape (n,).
        sigma: Standard deviations, shape (n,); zeros if the head does not predict them.
    """

    mean: Float[Tensor, " n"]
    sigma: Float[Tensor, " n"]


class RewardHead(nn.Module):
    """A linear reward head with the options of its shape.

    Args:
        dimension: Width d of the hidden states.
        shape: Type and options of the head.
    """

    def __init__(self, dimension: int, shape: HeadShape) -> None:
        super().__init__()
        self.dimension, self.shape = dimension, shape
        # No bias: a constant cancels in every comparison, and sequence classifiers have no bias.
        self.mean = nn.Linear(dimension, 1, bias=False)
        nn.init.normal_(self.mean.weight, std=0.02)
        if shape.gaussian:
            self.log_sigma = nn.Linear(dimension, 1)
            # The initial sigma is 1, that of the prior.
            nn.init.zeros_(self.log_sigma.weight)
            nn.init.zeros_(self.log_sigma.bias)
        if shape.weighting != "none":
            self.query = nn.Linear(dimension, shape.attention_width, bias=False)
            self.key = nn.Linear(dimension, shape.attention_width, bias=False)

    def weights(self, hidden: Float[Tensor, "tokens d"], forest: Forest) -> Float[Tensor, " branch_tokens"]:
        """Weight of each branch token (AVA eq. 11); ones without weighting."""
        if self.shape.weighting == "none":
            return torch.ones(len(forest.places), dtype=torch.float32, device=hidden.device)
        with _float32(hidden):
            states = hidden[forest.places].float()
            weights = attention_weights(
                self.query(states),
                self.key(states),
                forest.token_branches,
                len(forest.ends),
                causal=self.shape.weighting == "causal",
            )
        return weights * forest.lengths[forest.token_branches] if self.shape.mean_one else weights

    def forward(self, hidden: Float[Tensor, "tokens d"], forest: Forest) -> GaussianRewards:
        """Weighted reward of each branch token, float32."""
        weights = self.weights(hidden, forest)
        with _float32(hidden):
            states = hidden[forest.sources if self.shape.at_source else forest.places].float()
            mean = self.mean(states).squeeze(-1) * weights
            if not self.shape.gaussian:
                return GaussianRewards(mean, torch.zeros_like(mean))
            log_sigma = self.log_sigma(states).squeeze(-1).clamp(*_LOG_SIGMA)
            return GaussianRewards(mean, (log_sigma.exp() * weights).clamp(min=_LEAST_SIGMA))

    def of_branches(self, tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
        """Rewards of whole branches from token rewards, which are treated as independent Gaussians."""
        return _REDUCTIONS[self.shape.reduction](tokens, forest)

    def describe(self) -> dict[str, Any]:
        """Description from which `make_head` builds an equal head."""
        return {"dimension": self.dimension, **asdict(self.shape)}


def make_head(described: dict[str, Any]) -> RewardHead:
    """Build a head from its description.

    Raises:
        InputError: The description is not that of a reward head.
    """
    fields = dict(described)
    try:
        head = RewardHead(int(fields.pop("dimension")), HeadShape(**fields))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is no description of a reward head: {described!r:.200}", field="head") from error
    if head.shape.reduction not in _REDUCTIONS or head.shape.weighting not in (
        "none",
        "bidirectional",
        "causal",
    ):
        raise InputError(f"is no description of a reward head: {described!r:.200}", field="head")
    return head


def _float32(hidden: Tensor) -> torch.autocast:
    """Heads stay in float32 under mixed precision: they are small, and differences of their outputs
    matter."""
    return torch.autocast(hidden.device.type, enabled=False)


def _last(tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
    places = forest.lengths.cumsum(0) - 1
    return GaussianRewards(tokens.mean[places], tokens.sigma[places])


def _sum(tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
    # The square root's gradient at 0 is infinite, so it is skipped without a modelled deviation.
    variance = branch_sum(tokens.sigma.square(), forest)
    sigma = variance.clamp(min=1e-12).sqrt() if bool(tokens.sigma.any()) else torch.zeros_like(variance)
    return GaussianRewards(branch_sum(tokens.mean, forest), sigma)


def _mean(tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
    total = _sum(tokens, forest)
    return GaussianRewards(total.mean / forest.lengths, total.sigma / forest.lengths)


_REDUCTIONS: dict[str, Callable[[GaussianRewards, Forest], GaussianRewards]] = {
    "last": _last,
    "sum": _sum,
    "mean": _mean,
}
