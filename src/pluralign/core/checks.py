"""Checks of numeric settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pluralign.core.errors import InputError


def require(config: Any, lowest: Mapping[str, float], highest: Mapping[str, float] | None = None) -> None:
    """Check a config's numbers.

    Raises:
        InputError: A field is below its minimum or above its maximum.
    """
    for name, bound in lowest.items():
        if not getattr(config, name) >= bound:
            raise InputError(f"must be at least {bound:g}, found {getattr(config, name)}", field=name)
    for name, bound in (highest or {}).items():
        if not getattr(config, name) <= bound:
            raise InputError(f"must be at most {bound:g}, found {getattr(config, name)}", field=name)


def require_positive(**numbers: float) -> None:
    """Check that numbers are positive.

    Raises:
        InputError: A number is 0, negative or NaN.
    """
    for name, number in numbers.items():
        if not number > 0:
            raise InputError(f"must be above 0, found {number}", field=name)
