"""Side files, ``NAME.pluralign.json``: data that a story's source cannot express."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.core.jsonl import is_object

SUFFIX = ".pluralign.json"
"""Ending of a side file's name; the file is next to a story, or gives the story's path."""

WORDS = ("title", "author", "summary", "player_character")
"""Fields of side files that replace the story's own."""


def read_fields(path: Path, keys: Collection[str], texts: Collection[str]) -> dict[str, Any]:
    """Read the fields of a side file.

    Args:
        path: Path of the file.
        keys: Names of the allowed fields.
        texts: Names of the fields with string values.

    Raises:
        InputError: The file cannot be read, or a field is unknown or has a wrong type.
    """
    row = read_json(path)
    if not is_object(row):
        raise InputError(f"expected an object with {', '.join(keys)}", path=path)
    for key, value in row.items():
        if key not in keys:
            raise InputError(f"unknown; expected {', '.join(keys)}", path=path, field=str(key))
        if key in texts and not isinstance(value, str):
            raise InputError(f"must be a string, found {value!r:.60}", path=path, field=str(key))
    return row


def words_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Those of title, author, summary and player_character that a row has."""
    return {key: row[key] for key in WORDS if key in row}


def names_story(path: Path) -> bool:
    """Whether the path is that of a side file with the field ``story``, which names a story of any kind and
    may add labels to it; an Ink story's own side file has no such field.

    Raises:
        InputError: The file cannot be read.
    """
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    row = read_json(path)
    return is_object(row) and "story" in row
