"""A policy over listed options: a small head on a trunk's features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import Decision
from pluralign.models.features import FeatureSource


class OptionHead(nn.Module):
    """Standardise -> linear -> GELU -> linear: one score for each option.

    Args:
        dimension: d, the width of the features.
        hidden: the width of the hidden layer; 0 makes the head linear.
    """

    def __init__(self, dimension: int, hidden: int = 64) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Scores (logits up to a constant for each decision)."""
        raise NotImplementedError


class OptionPolicy:
    """pi(a|s) = softmax over the options of head(features); implements `core.Policy`.

    Args:
        name: how reports call it.
        head: the trained part.
        source: where features come from: a `FeatureStore` over the backbone it was trained on.
    """

    def __init__(self, name: str, head: OptionHead, source: FeatureSource) -> None:
        self._name, self.head, self.source = name, head, source

    @property
    def name(self) -> str:
        """See `core.Policy.name`."""
        return self._name

    @torch.no_grad()
    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `core.Policy.log_probs`."""
        raise NotImplementedError
