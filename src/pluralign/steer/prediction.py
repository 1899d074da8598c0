"""Next-token predictions of rows of several policies; logits are computed on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.vocabulary import has_linear_head, vocabulary_logits
from pluralign.steer.mixing import GEOMETRIC, mix_rows

Entry = tuple[int, int]
"""Number of a request and of a policy."""


class Prediction(Protocol):
    """Next-token predictions of all rows."""

    @property
    def device(self) -> torch.device:
        """Device of the logits."""
        ...

    def logits(self) -> Float[Tensor, "rows vocabulary"]:
        """Logits of every row, float32."""
        ...

    def mixed(
        self, owners: Int[Tensor, " rows"], weights: Float[Tensor, " rows"], mixtures: int, power: float
    ) -> Float[Tensor, "mixtures vocabulary"]:
        """Log-probabilities of mixtures of the rows (`mixing.mix_rows`)."""
        ...


P = TypeVar("P", bound=Prediction)


@dataclass(frozen=True, eq=False)
class StatePrediction:
    """Next-token predictions from a state of each row; logits are computed on request.

    Args:
        states: Input of the head.
        head: Function from states to logits.
        linear: Whether the head is linear: logits of a weighted mean of states are the weighted mean of
            logits.
    """

    states: Float[Tensor, "rows d"]
    head: Callable[[Float[Tensor, "rows d"]], Float[Tensor, "rows vocabulary"]] = lambda states: states
    linear: bool = True

    @property
    def device(self) -> torch.device:
        """See `Prediction`."""
        return self.states.device

    def logits(self) -> Float[Tensor, "rows vocabulary"]:
        """See `Prediction`."""
        return self.head(self.states).float()

    def mixed(
        self, owners: Int[Tensor, " rows"], weights: Float[Tensor, " rows"], mixtures: int, power: float
    ) -> Float[Tensor, "mixtures vocabulary"]:
        """Log-probabilities of mixtures of the rows (`mixing.mix_rows`).

        A geometric mixture is the softmax of the mean logits. If the head is linear, these are the logits of
        the mean state, so the head reads one state per mixture instead of one per policy.
        """
        if power == GEOMETRIC and self.linear:
            shares = weights[:, None] * self.states.float()
            means = shares.new_zeros(mixtures, shares.shape[1]).index_add(0, owners, shares)
            return self.head(means.to(self.states.dtype)).float().log_softmax(-1)
        return mix_rows(self.logits().log_softmax(-1), owners, weights, mixtures, power)


def head_prediction(model: PreTrainedModel, states: Float[Tensor, "rows d"]) -> StatePrediction:
    """Prediction from states with a model's vocabulary head."""
    return StatePrediction(states, lambda own: vocabulary_logits(model, own), has_linear_head(model))


def joined(parts: Sequence[P]) -> P | StatePrediction:
    """Concatenation of several predictions, as logits; a single prediction is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    return StatePrediction(torch.cat([part.logits() for part in parts]))
