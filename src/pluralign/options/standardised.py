"""Standardisation of features (mean 0, deviation 1), the first layer of heads over options."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class StandardisedHead(nn.Module):
    """Base of heads that standardise features; the buffers ``mean`` and ``scale`` are part of their weights.

    Args:
        dimension: Width d of the features.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))

    def fit_standardisation(self, features: Float[Tensor, "options d"]) -> None:
        """Set the buffers to the mean and the standard deviation of these features."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0, correction=0)
        # A constant feature is uninformative: scale 1 keeps it finite on new data.
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def standardise(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Features of mean 0 and deviation 1 on the training data."""
        return (features - self.mean) / self.scale
