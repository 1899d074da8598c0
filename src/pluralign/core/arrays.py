"""Types of NumPy arrays, and users' numbers as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pluralign.core.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_ROUNDING = 1e-12
"""Share of the largest number below which differences are rounding."""


def as_floats(values: npt.ArrayLike, field: str) -> FloatArray:
    """Numbers of a user as an array.

    Args:
        values: Numbers.
        field: Name of the argument.

    Raises:
        InputError: Something is not a number, or rows have different lengths.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected numbers, found {values!r:.60}", field=field) from error


def varies(values: FloatArray) -> BoolArray:
    """Whether the numbers of each column differ by more than rounding, shape (columns,).

    The standard deviation does not say: that of a constant such as 0.1 may be what its mean is rounded by.

    >>> varies(np.full((3, 1), 0.1)).tolist(), bool(np.full(3, 0.1).std() > 0)
    ([False], True)

    Args:
        values: Numbers, shape (rows, columns).
    """
    return np.ptp(values, axis=0) > _ROUNDING * np.abs(values).max(axis=0)
