"""Target levels of mean rewards, as users write them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pluralign.core.errors import InputError

_SD = "sd"


@dataclass(frozen=True)
class Level:
    """Target level of a mean reward.

    Args:
        value: Level in the reward's own unit, or in standard deviations above the samples' mean.
        relative: Whether the level is in standard deviations.
    """

    value: float
    relative: bool = False

    @classmethod
    def parse(cls, text: str, name: str, field: str = "at_least") -> Level:
        """Parse ``1.5``, ``+0.5sd`` or ``-0.5sd``."""
        relative = text.endswith(_SD) and text[0] in "+-"
        try:
            value = float(text.removesuffix(_SD) if relative else text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"expected a number, or standard deviations as in +0.5sd; found {text!r} for '{name}'",
                field=field,
            )
        return cls(value, relative)

    def at(self, mean: float, deviation: float) -> float:
        """The level in the reward's own unit, for samples with this mean and standard deviation."""
        return mean + self.value * deviation if self.relative else self.value
