"""Policies over listed options: a small head on features of a trunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from pluralign.core import Decision, InputError
from pluralign.options.features import DecisionFeatures, FeatureSource
from pluralign.options.standardised import StandardisedHead


class OptionHead(StandardisedHead):
    """Standardisation -> linear -> GELU -> linear: one score per option.

    The standardisation is part of the head; its buffers are fitted on the training features.

    Args:
        dimension: Width d of the features.
        hidden: Width of the hidden layer; 0 for a linear head.
    """

    def __init__(self, dimension: int, hidden: int = 64) -> None:
        super().__init__(dimension)
        self.hidden = hidden
        self.inner = nn.Linear(dimension, hidden) if hidden else nn.Identity()
        self.outer = nn.Linear(hidden or dimension, 1)
        # Zero initial scores: training starts from the uniform policy.
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def score(self, standardised: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Scores of features that already passed through `standardise`."""
        hidden = gelu(self.inner(standardised)) if self.hidden else standardised
        return self.outer(hidden).squeeze(-1)

    def forward(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Scores (logits up to a constant per decision)."""
        return self.score(self.standardise(features))


def pad_features(
    entries: Sequence[DecisionFeatures],
) -> tuple[Float[Tensor, "decisions options d"], Bool[Tensor, "decisions options"]]:
    """Features of several decisions in one tensor, padded with zeros, and a mask that is True at existing
    options."""
    counts = [len(entry.features) for entry in entries]
    width = entries[0].features.shape[1]
    padded = np.zeros((len(entries), max(counts), width), dtype=np.float32)
    for row, entry in enumerate(entries):
        padded[row, : counts[row]] = entry.features
    return torch.as_tensor(padded), torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def option_log_probs(
    scores: Float[Tensor, "decisions options"], mask: Bool[Tensor, "decisions options"]
) -> Float[Tensor, "decisions options"]:
    """log pi = log softmax of the scores over existing options; a large negative number at padding."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).log_softmax(dim=-1)


class OptionPolicy:
    """pi(a|s) = softmax over the options of head(features); implements `core.Policy`.

    Args:
        name: Name in reports.
        head: Trained head.
        source: Source of features: a `FeatureStore` of the backbone that it was trained on. A policy with a
            LoRA adapter has a store of the adapted backbone.

    Raises:
        InputError: The features have another width than the head expects.
    """

    def __init__(self, name: str, head: OptionHead, source: FeatureSource) -> None:
        if head.dimension != source.dimension:
            raise InputError(
                f"policy {name!r} needs features of width {head.dimension}, found {source.dimension}"
            )
        self._name, self.head, self.source = name, head.eval(), source

    @property
    def name(self) -> str:
        """See `core.Policy.name`."""
        return self._name

    @torch.no_grad()
    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `core.Policy.log_probs`."""
        entries = self.source.get(decisions)
        if not entries:
            return []
        device = self.head.mean.device
        # The rows of all decisions together, without padding: a row's result depends on the other rows only
        # in the last digits of float32.
        rows = torch.as_tensor(np.concatenate([entry.features for entry in entries])).to(device)
        scores = self.head(rows).cpu().double()
        parts = scores.split_with_sizes([len(entry.features) for entry in entries])
        return [part.log_softmax(dim=-1).numpy() for part in parts]
