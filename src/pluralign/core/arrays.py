"""Types of NumPy arrays, and users' numbers as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pluralign.core.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


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
