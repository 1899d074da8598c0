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


def varies(values: FloatArray, axis: int = 0) -> BoolArray:
    """Whether numbers differ along an axis by more than rounding, which is all that the deviation of equal
    numbers may consist of.

    >>> bool(varies(np.full(3, 0.1))), bool(np.full(3, 0.1).std() > 0)
    (False, True)

    Args:
        values: Numbers.
        axis: Axis along which they are compared; the result lacks it.
    """
    return np.ptp(values, axis=axis) > _ROUNDING * np.abs(values).max(axis=axis)


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
