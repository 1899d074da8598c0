"""Objectives that users describe in a file."""

from __future__ import annotations

from pathlib import Path

from pluralign.core import InputError, Objective
from pluralign.core.jsonl import read_rows


def load_objectives(path: str | Path) -> tuple[Objective, ...]:
    """Read objectives: JSON lines with ``name`` and ``description``.

    Raises:
        InputError: The file cannot be read or has no row, a row is no objective or has an unknown field, or
            two have the same name.
    """
    found: dict[str, Objective] = {}
    for row in read_rows(path):
        if unknown := [field for field in row.row if field not in ("name", "description")]:
            raise row.fail(unknown[0], "is unknown; an objective has a name and a description")
        name, description = row.get("name", str), row.get("description", str)
        if name in found:
            raise row.fail("name", f"two objectives are named '{name}'")
        try:
            found[name] = Objective(name, description)
        except InputError as error:
            raise InputError(error.message, path=row.path, row=row.number) from error
    if not found:
        raise InputError("has no objective", path=path)
    return tuple(found.values())
