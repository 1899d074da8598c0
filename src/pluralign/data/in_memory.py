"""Rows in memory: frames of pandas, and what pandas and NumPy have in cells."""

from __future__ import annotations

import sys
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.jsonl import is_list, is_object, plain, repeated


def unframed(data: Any) -> Any:
    """The rows of a ``pandas.DataFrame``, with None for what is missing; other data as they are.

    Iterated, a frame gives the names of its columns.

    Raises:
        InputError: Two columns have the same name.
    """
    # A frame exists only where pandas has been imported.
    pandas: Any = sys.modules.get("pandas")
    if pandas is None or not isinstance(data, pandas.DataFrame):
        return data
    frame: Any = data
    if (twice := repeated(map(str, frame.columns))) is not None:
        raise InputError("two columns have this name", field=twice)
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def native(value: Any) -> Any:
    """A cell as JSON has it: None for what is missing in pandas, lists for the arrays as which pandas reads
    lists of messages from parquet files, texts for times, and numbers for decimals.

    >>> native(np.array([{"role": "user", "content": "Hi."}], dtype=object))
    [{'role': 'user', 'content': 'Hi.'}]
    """
    if value is None or isinstance(value, str | float | int):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return native(plain(value))
    if is_list(value):
        return list(map(native, value))
    if is_object(value):
        return {name: native(one) for name, one in value.items()}
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return None
    if isinstance(value, date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
