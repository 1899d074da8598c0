"""Value heads: a value after every token, from its hidden state, linear or by bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.losses.value import Bins, hl_gauss_mean


class ValueHead(nn.Module):
    """A linear value, or logits of bins whose expectation is the value. Initial weights are zero.

    Initial values are therefore 0, or the middle of the bins: an untrained head prefers no token.

    Args:
        dimension: Width d of the hidden states.
        bins: Bins of a value by classification (`losses.value.hl_gauss_loss`); None for a linear value.
    """

    def __init__(self, dimension: int, bins: Bins | None = None) -> None:
        super().__init__()
        self.dimension, self.bins = dimension, bins
        self.linear = nn.Linear(dimension, 1 if bins is None else bins.count)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens outputs"]:
        """Input of the loss, float32: the value, or the bins' logits."""
        # The head stays in float32 under mixed precision, because differences between values matter.
        with torch.autocast(states.device.type, enabled=False):
            return self.linear(states.float())

    def values(self, outputs: Float[Tensor, "tokens outputs"]) -> Float[Tensor, " tokens"]:
        """Values for these outputs, float32."""
        if self.bins is None:
            return outputs.squeeze(-1)
        # Training targets are computed from these.
        with torch.autocast(outputs.device.type, enabled=False):
            return hl_gauss_mean(outputs, self.bins)

    def describe(self) -> dict[str, Any]:
        """Description from which `make_value_head` builds an equal head."""
        return {"dimension": self.dimension, "bins": None if self.bins is None else asdict(self.bins)}


def make_value_head(described: Mapping[str, Any]) -> ValueHead:
    """Build a head from its description.

    Raises:
        InputError: The description is not that of a value head.
    """
    try:
        bins = described["bins"]
        return ValueHead(int(described["dimension"]), None if bins is None else Bins(**bins))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"is no description of a value head: {described!r:.200}", field="head") from error
