"""Rewards of a decision's options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class OptionRewards:
    """Gaussian rewards of one decision's options.

    Args:
        mean: Mean rewards, shape (options,).
        sigma: Standard deviations, shape (options,); zeros if the model does not estimate them.
    """

    mean: npt.NDArray[np.float64]
    sigma: npt.NDArray[np.float64]
