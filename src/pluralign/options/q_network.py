"""Q-values over listed options from frozen features, and a table of known decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pluralign.core import Decision
from pluralign.options.features import FeatureSource


class QNetwork(nn.Module):
    """Two layers on standardised features.

    Args:
        dimension: Width d of the features.
        hidden: Width of the hidden layer.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))
        self.inner = nn.Linear(dimension, hidden)
        self.outer = nn.Linear(hidden, 1)
        # With zero initial Q-values, the first episodes are those of the random policy.
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Q-value of each option."""
        x = (features - self.mean) / self.scale
        return self.outer(torch.relu(self.inner(x))).squeeze(-1)

    def standardise(self, features: Float[Tensor, "rows d"]) -> None:
        """Fit mean and scale on these features. Features of a trunk share large directions that do not depend
        on the option; without this, training is many times slower."""
        self.mean.copy_(features.mean(0))
        spread = features.std(0, correction=0)
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))


class DecisionTable:
    """Features of all known decisions in one growing tensor; decisions are referred to by number."""

    def __init__(self, source: FeatureSource) -> None:
        self._source = source
        self._numbers: dict[str, int] = {}
        self._rows = np.zeros((0, source.dimension), dtype=np.float32)
        self._used = 0
        self._starts: list[int] = []
        self._counts: list[int] = []

    @property
    def size(self) -> int:
        """Number of known decisions."""
        return len(self._starts)

    def numbers(self, decisions: Sequence[Decision]) -> list[int]:
        """Number of each decision; new decisions are added."""
        new = list({d.key: d for d in decisions if d.key not in self._numbers}.values())
        if new:
            for decision, found in zip(new, self._source.get(new), strict=True):
                self._numbers[decision.key] = len(self._starts)
                self._append(found.features)
        return [self._numbers[d.key] for d in decisions]

    def _append(self, features: npt.NDArray[np.float32]) -> None:
        need = self._used + len(features)
        if need > len(self._rows):
            grown = np.zeros((max(2 * len(self._rows), need, 256), self._rows.shape[1]), dtype=np.float32)
            grown[: self._used] = self._rows[: self._used]
            self._rows = grown
        self._rows[self._used : need] = features
        self._starts.append(self._used)
        self._counts.append(len(features))
        self._used = need

    def all_features(self) -> Float[Tensor, "rows d"]:
        """Features of all options of all known decisions."""
        return torch.as_tensor(self._rows[: self._used])

    def features_of(
        self, numbers: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
    ) -> Float[Tensor, "batch d"]:
        """Features of one option of each decision."""
        return torch.as_tensor(self._rows[np.asarray(self._starts)[numbers] + actions])

    def options_of(
        self, numbers: npt.NDArray[np.int64]
    ) -> tuple[Float[Tensor, "rows d"], Int[Tensor, "batch options"], Bool[Tensor, "batch options"]]:
        """Features of all options of these decisions; the index in them of each decision's options; and a
        mask of that index, True at existing options."""
        distinct, places = np.unique(numbers, return_inverse=True)
        counts = np.asarray(self._counts)[distinct]
        starts = np.asarray(self._starts)[distinct]
        ranges: list[npt.NDArray[np.int64]] = [
            np.arange(s, s + c) for s, c in zip(starts, counts, strict=True)
        ]
        rows = np.concatenate(ranges)
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
        column = np.arange(int(counts.max()))
        held = column[None, :] < counts[:, None]
        where = np.where(held, offsets[:, None] + column[None, :], 0)
        return (
            torch.as_tensor(self._rows[rows]),
            torch.as_tensor(where[places]),
            torch.as_tensor(held[places]),
        )
