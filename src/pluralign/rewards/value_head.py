"""Value heads: a number after every token, read off its hidden state or off bins."""

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
    """A linear value, or logits of bins whose expectation is the value. It begins with zero weights.

    So at first every value is 0, or the middle of the bins: no token is preferred before anything is learned.

    Args:
        dimension: d, the width of the hidden states.
        bins: of a value that is learned by classification (`losses.value.hl_gauss_loss`), if it is.
    """

    def __init__(self, dimension: int, bins: Bins | None = None) -> None:
        super().__init__()
        self.dimension, self.bins = dimension, bins
        self.linear = nn.Linear(dimension, 1 if bins is None else bins.count)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens outputs"]:
        """What the loss reads, float32: the value, or the bins' logits."""
        # Differences between values decide: the head stays in float32 under mixed precision.
        with torch.autocast(states.device.type, enabled=False):
            return self.linear(states.float())

    def values(self, outputs: Float[Tensor, "tokens outputs"]) -> Float[Tensor, " tokens"]:
        """The values that the outputs stand for."""
        return outputs.squeeze(-1) if self.bins is None else hl_gauss_mean(outputs, self.bins)

    def describe(self) -> dict[str, Any]:
        """What `make_value_head` makes the same kind of head from."""
        return {"dimension": self.dimension, "bins": None if self.bins is None else asdict(self.bins)}


def make_value_head(described: Mapping[str, Any]) -> ValueHead:
    """A head of the described kind.

    Raises:
        InputError: no head can be described so.
    """
    try:
        bins = described["bins"]
        return ValueHead(int(described["dimension"]), None if bins is None else Bins(**bins))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"describes no value head: {described!r:.200}", field="head") from error
