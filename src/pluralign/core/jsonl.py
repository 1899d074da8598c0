"""Rows of JSON-lines files, with errors that name file, row and field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np

from pluralign.core.errors import InputError

Row = dict[str, Any]


def is_object(value: Any) -> TypeGuard[Row]:
    """Whether a value read from JSON is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a value read from JSON is a list."""
    return isinstance(value, list)


def is_finite(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number that a float can hold: JSON's have any number of digits. NumPy's count in
    rows in memory."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def plain(value: Any) -> Any:
    """A value of NumPy as JSON has it; the argument ``default`` of `json.dumps`.

    Raises:
        InputError: It is anything else that JSON does not have.
    """
    if isinstance(value, np.generic):
        return cast("np.generic[Any]", value).item()
    if isinstance(value, np.ndarray):
        return cast("np.ndarray[Any, Any]", value).tolist()
    raise InputError(f"expected what JSON can have, found {value!r:.60}")


def repeated(names: Iterable[str]) -> str | None:
    """The first name that occurs for the second time; None if there is none."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def once(fields: list[tuple[str, Any]]) -> Row:
    """A JSON object none of whose fields occurs twice; the argument ``object_pairs_hook`` of `json.loads`,
    which otherwise takes the last.

    Raises:
        ValueError: A field occurs twice.
    """
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError(f"field {repeated(name for name, _ in fields)!r:.60} is repeated")
    return found


def without_nan(value: Any) -> Any:
    """A value with None for NaN and infinities, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(one) for name, one in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in cast("Sequence[Any]", value)]
    return without_nan(plain(value)) if isinstance(value, np.generic | np.ndarray) else value


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON, with null for NaN and infinities. Python's own names for these are no JSON: other
    programs refuse the whole file.

    >>> json_text({"kappa": float("nan"), "pairs": 3})
    '{"kappa": null, "pairs": 3}'
    """
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=plain)
    except ValueError:
        found = without_nan(value)
    return json.dumps(found, indent=indent, ensure_ascii=False, allow_nan=False, default=plain)


def half_character(value: Any) -> str | None:
    """The first text in a value read from JSON that has a lone surrogate; None if there is none."""
    if isinstance(value, str):
        return value if any("\ud800" <= letter <= "\udfff" for letter in value) else None
    if is_object(value):
        value = [*value, *value.values()]
    found = map(half_character, value) if is_list(value) else ()
    return next((text for text in found if text is not None), None)


def check_encodable(value: Any, path: str | Path, *, row: int | None = None) -> None:
    """Check that the texts in a value read from JSON can be encoded; only an escape can spell others.

    Args:
        value: The value.
        path: File that it was read from.
        row: Number of the row in the file.

    Raises:
        InputError: A text has a lone surrogate.
    """
    text = half_character(value)
    if text is not None:
        raise InputError(f"has a lone surrogate, which cannot be encoded: {text!a:.60}", path=path, row=row)


class Fields:
    """Typed access to one row of a file, with errors that name file, row and field."""

    def __init__(self, row: Any, path: Path, number: int) -> None:
        self.path, self.number = path, number
        if not is_object(row):
            raise InputError(f"expected a JSON object, found {type(row).__name__}", path=path, row=number)
        self.row = row

    def fail(self, field: str, message: str) -> InputError:
        """An error about a field of this row, to be raised."""
        return InputError(message, path=self.path, row=self.number, field=field)

    def get(self, field: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """The field's value, if it has one of these types (a bool is not an int)."""
        if field not in self.row:
            if default is not ...:
                return default
            raise self.fail(field, "is missing")
        value = self.row[field]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(k.__name__ for k in kinds)
            raise self.fail(field, f"expected {expected}, found {value!r:.60}")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.get(field, list)
        if not all(isinstance(v, str) for v in value):
            raise self.fail(field, f"expected a list of strings, found {value!r:.60}")
        return tuple(value)

    def ints(self, field: str) -> list[int]:
        """A list of integers."""
        value = self.get(field, list)
        if not all(type(v) is int for v in value):
            raise self.fail(field, f"expected a list of integers, found {value!r:.60}")
        return value

    def finite(self, field: str, default: Any = ...) -> float:
        """A finite number."""
        return self._finite(field, self.get(field, (int, float), default))

    def numbers(self, field: str) -> dict[str, float]:
        """An object of finite numbers; empty if the field is absent."""
        return {
            name: self._finite(f"{field}.{name}", number)
            for name, number in self.get(field, dict, {}).items()
        }

    def _finite(self, field: str, value: Any) -> float:
        if not is_finite(value):
            raise self.fail(field, f"expected a finite number, found {value!r:.60}")
        return float(value)


def read_rows(path: str | Path, *, drop_cut_off_line: bool = False) -> Iterator[Fields]:
    """Rows of a JSON-lines file.

    Args:
        path: File to read.
        drop_cut_off_line: Whether to skip an incomplete last line, which a killed writer leaves.

    Raises:
        InputError: The file does not exist, a line is not JSON or has a field twice, or a text cannot be
            encoded.
    """
    path = Path(path)
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    with handle:
        for number, line in enumerate(handle, start=1):
            whole = line.endswith(b"\n")
            if not whole and drop_cut_off_line:
                return
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=once)
            except (ValueError, RecursionError) as error:
                reason = "the line is cut off" if not whole else f"not JSON ({error})"
                if line.startswith(b"\x1f\x8b"):
                    reason = "is compressed (gzip): unpack it first"
                raise InputError(reason, path=path, row=number) from error
            if b"\\ud" in line.lower():
                check_encodable(row, path, row=number)
            yield Fields(row, path, number)
