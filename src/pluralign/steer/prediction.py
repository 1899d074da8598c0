"""What may follow each row of several policies, before logits are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.vocabulary import has_linear_head, vocabulary_logits
from pluralign.steer.mixing import GEOMETRIC, mix_rows

Entry = tuple[int, int]
"""A request's number and a policy's."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What may follow each row; its logits are not computed before they are asked for.

    Args:
        states: what the head reads.
        head: from states to logits.
        linear: the logits of a weighted mean of states are that mean of their logits.
    """

    states: Float[Tensor, "rows d"]
    head: Callable[[Float[Tensor, "rows d"]], Float[Tensor, "rows vocabulary"]] = lambda states: states
    linear: bool = True

    def logits(self) -> Float[Tensor, "rows vocabulary"]:
        """Of every row, float32."""
        return self.head(self.states).float()

    def mixed(
        self, owners: Int[Tensor, " rows"], weights: Float[Tensor, " rows"], mixtures: int, power: float
    ) -> Float[Tensor, "mixtures vocabulary"]:
        """Log-probabilities of mixtures of the rows (`mixing.mix_rows`).

        A geometric mixture is the softmax of the mean logits. Where the head is linear these are those of
        the mean state: it reads one state for each mixture, not one for each of its policies.
        """
        if power == GEOMETRIC and self.linear:
            shares = weights[:, None] * self.states.float()
            means = shares.new_zeros(mixtures, shares.shape[1]).index_add(0, owners, shares)
            return self.head(means.to(self.states.dtype)).float().log_softmax(-1)
        return mix_rows(self.logits().log_softmax(-1), owners, weights, mixtures, power)


def head_prediction(model: PreTrainedModel, states: Float[Tensor, "rows d"]) -> Prediction:
    """What a model's vocabulary head makes of states."""
    return Prediction(states, lambda own: vocabulary_logits(model, own), has_linear_head(model))


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Rows of several predictions, one after the other; those of one head stay states."""
    if len(parts) == 1:
        return parts[0]
    return Prediction(torch.cat([part.logits() for part in parts]))
