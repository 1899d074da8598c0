"""Reward heads: a Gaussian over the reward of every token of a forest's branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.lm.forest import Forest
from pluralign.lm.vocabulary import branch_sum
from pluralign.losses.reward import attention_weights

Weighting = Literal["none", "bidirectional", "causal"]
Reduction = Literal["last", "sum", "mean"]
# Outside these a Gaussian is a point or says nothing, and its density overflows.
_LOG_SIGMA = (-5.0, 3.0)
# Weights have no lower bound: without this a token that nothing attends to would weigh without end.
_LEAST_SIGMA = 1e-4


@dataclass(frozen=True)
class HeadShape:
    """What a reward head computes.

    Args:
        gaussian: a standard deviation beside the mean; else it is 0.
        weighting: weights over a branch's tokens from attention among them (AVA eq. 11; Preference
            Transformer): ``bidirectional``, or ``causal`` as AVA's text has it in a causal model.
        mean_one: multiply the weights by the branch's length, so that their mean and not their sum is one.
        at_source: read a token's reward before it was seen (AVA eq. 9 to the letter), not at its own place.
        reduction: the reward of a branch: of its ``last`` token, or the ``sum`` (AVA eq. 19) or the ``mean``
            over them; with weights of mean one, the mean is Preference Transformer's return.
        attention_width: of the queries and keys.
    """

    gaussian: bool = False
    weighting: Weighting = "none"
    mean_one: bool = False
    at_source: bool = False
    reduction: Reduction = "last"
    attention_width: int = 64


@dataclass(frozen=True, eq=False)
class GaussianRewards:
    """Gaussian rewards, of tokens or of branches.

    Args:
        mean: shape (n,).
        sigma: standard deviations, zeros where the head gives none, shape (n,).
    """

    mean: Float[Tensor, " n"]
    sigma: Float[Tensor, " n"]


class RewardHead(nn.Module):
    """A linear mean, and what its shape adds.

    Args:
        dimension: d, the width of the hidden states.
        shape: what it computes.
    """

    def __init__(self, dimension: int, shape: HeadShape) -> None:
        super().__init__()
        self.dimension, self.shape = dimension, shape
        # No bias: a constant cancels in every comparison, and sequence classifiers have none.
        self.mean = nn.Linear(dimension, 1, bias=False)
        nn.init.normal_(self.mean.weight, std=0.02)
        if shape.gaussian:
            self.log_sigma = nn.Linear(dimension, 1)
            # sigma is 1 at first: the prior's.
            nn.init.zeros_(self.log_sigma.weight)
            nn.init.zeros_(self.log_sigma.bias)
        if shape.weighting != "none":
            self.query = nn.Linear(dimension, shape.attention_width, bias=False)
            self.key = nn.Linear(dimension, shape.attention_width, bias=False)

    def weights(self, hidden: Float[Tensor, "tokens d"], forest: Forest) -> Float[Tensor, " branch_tokens"]:
        """The weight of each branch token (AVA eq. 11); ones where the shape has none."""
        if self.shape.weighting == "none":
            return torch.ones(len(forest.places), device=hidden.device)
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
        """The weighted reward of each branch token, float32."""
        weights = self.weights(hidden, forest)
        with _float32(hidden):
            states = hidden[forest.sources if self.shape.at_source else forest.places].float()
            mean = self.mean(states).squeeze(-1) * weights
            if not self.shape.gaussian:
                return GaussianRewards(mean, torch.zeros_like(mean))
            log_sigma = self.log_sigma(states).squeeze(-1).clamp(*_LOG_SIGMA)
            return GaussianRewards(mean, (log_sigma.exp() * weights).clamp(min=_LEAST_SIGMA))

    def of_branches(self, tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
        """Rewards of whole branches from those of their tokens; the tokens' are independent Gaussians."""
        return _REDUCTIONS[self.shape.reduction](tokens, forest)

    def describe(self) -> dict[str, Any]:
        """What `make_head` makes the same kind of head from."""
        return {"dimension": self.dimension, **asdict(self.shape)}


def make_head(described: dict[str, Any]) -> RewardHead:
    """A head of the described kind.

    Raises:
        InputError: no head can be described so.
    """
    fields = dict(described)
    try:
        head = RewardHead(int(fields.pop("dimension")), HeadShape(**fields))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"describes no reward head: {described!r:.200}", field="head") from error
    if head.shape.reduction not in _REDUCTIONS or head.shape.weighting not in (
        "none",
        "bidirectional",
        "causal",
    ):
        raise InputError(f"describes no reward head: {described!r:.200}", field="head")
    return head


def _float32(hidden: Tensor) -> torch.autocast:
    """Heads are small and their differences decide: they stay in float32 under mixed precision."""
    return torch.autocast(hidden.device.type, enabled=False)


def _last(tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
    places = forest.lengths.cumsum(0) - 1
    return GaussianRewards(tokens.mean[places], tokens.sigma[places])


def _sum(tokens: GaussianRewards, forest: Forest) -> GaussianRewards:
    # The square root's gradient at 0 is infinite: where no deviation is modelled, none is computed.
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
