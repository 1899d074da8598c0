"""Rewards of a decision's options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class OptionRewards:
    """Gaussian rewards of one decision's options.

    Args:
        mean: shape (options,).
        sigma: standard deviations, zeros where the model gives none, shape (options,).
    """

    mean: npt.NDArray[np.float64]
    sigma: npt.NDArray[np.float64]
