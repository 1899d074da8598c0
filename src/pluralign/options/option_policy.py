"""A policy over listed options: a small head on a trunk's features."""

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
    """Standardise -> linear -> GELU -> linear: one score for each option.

    The standardisation is part of the head: its buffers are fitted on the training features.

    Args:
        dimension: d, the width of the features.
        hidden: the width of the hidden layer; 0 makes the head linear.
    """

    def __init__(self, dimension: int, hidden: int = 64) -> None:
        super().__init__(dimension)
        self.hidden = hidden
        self.inner = nn.Linear(dimension, hidden) if hidden else nn.Identity()
        self.outer = nn.Linear(hidden or dimension, 1)
        # Zero scores at first: training begins at the uniform policy.
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def score(self, standardised: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Scores of features that went through `standardise` (once, where they are used often)."""
        hidden = gelu(self.inner(standardised)) if self.hidden else standardised
        return self.outer(hidden).squeeze(-1)

    def forward(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Scores (logits up to a constant for each decision)."""
        return self.score(self.standardise(features))


def pad_features(
    entries: Sequence[DecisionFeatures],
) -> tuple[Float[Tensor, "decisions options d"], Bool[Tensor, "decisions options"]]:
    """Features of several decisions in one tensor, zeros where a decision has fewer options; and a mask,
    True at options that are there."""
    counts = [len(entry.features) for entry in entries]
    width = entries[0].features.shape[1]
    padded = np.zeros((len(entries), max(counts), width), dtype=np.float32)
    for row, entry in enumerate(entries):
        padded[row, : counts[row]] = entry.features
    return torch.from_numpy(padded), torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def option_log_probs(
    scores: Float[Tensor, "decisions options"], mask: Bool[Tensor, "decisions options"]
) -> Float[Tensor, "decisions options"]:
    """log pi = log softmax of the scores over the options that are there; very negative elsewhere."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).log_softmax(dim=-1)


class OptionPolicy:
    """pi(a|s) = softmax over the options of head(features); implements `core.Policy`.

    Args:
        name: how reports call it.
        head: the trained part.
        source: where features come from: a `FeatureStore` over the backbone it was trained on. A policy
            with a LoRA adapter has a store over the adapted backbone.

    Raises:
        InputError: the features are not as wide as the head.
    """

    def __init__(self, name: str, head: OptionHead, source: FeatureSource) -> None:
        if head.dimension != source.dimension:
            raise InputError(
                f"policy {name!r} needs features of {head.dimension} numbers, found {source.dimension}"
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
        # The rows of all decisions together, without padding; in float64 a row's result does not depend
        # on its neighbours beyond the last digits.
        rows = torch.from_numpy(np.concatenate([entry.features for entry in entries])).to(device)
        scores = self.head(rows).double().cpu()
        parts = scores.split([len(entry.features) for entry in entries])
        return [part.log_softmax(dim=-1).numpy() for part in parts]
