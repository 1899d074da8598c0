"""Features of decisions from a frozen trunk: computed once for each distinct decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision
from pluralign.models.backbone import Backbone


@dataclass(frozen=True, eq=False)
class DecisionFeatures:
    """What a frozen trunk makes of one decision.

    Args:
        features: shape (options, d).
        log_likelihoods: sum of the token log-probabilities of each option after the prompt, in nats,
            shape (options,).
        lengths: tokens of each option, shape (options,).
    """

    features: npt.NDArray[np.float32]
    log_likelihoods: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]


class FeatureSource(Protocol):
    """Whatever gives features of decisions; fakes in tests are one-hot."""

    @property
    def dimension(self) -> int:
        """d, the width of the features."""
        ...

    @property
    def fingerprint(self) -> str:
        """What made the features; two sources with the same fingerprint give the same features."""
        ...

    def get(self, decisions: Sequence[Decision]) -> list[DecisionFeatures]:
        """Features of each decision, in order; repeats are allowed."""
        ...


class FeatureStore:
    """Features of a frozen backbone, kept in memory and, where a folder is given, on the disk.

    Args:
        backbone: the frozen trunk.
        folder: where shards are kept; None keeps nothing on the disk.
        token_budget: tokens in one forward pass.
    """

    def __init__(self, backbone: Backbone, folder: Path | None = None, *, token_budget: int = 4096) -> None:
        raise NotImplementedError

    @property
    def dimension(self) -> int:
        """See `FeatureSource.dimension`."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """See `FeatureSource.fingerprint`."""
        raise NotImplementedError

    def get(self, decisions: Sequence[Decision]) -> list[DecisionFeatures]:
        """See `FeatureSource.get`. Decisions not seen before run through the trunk, each once."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what is not on the disk yet (done by itself every few seconds and at exit)."""
        raise NotImplementedError
