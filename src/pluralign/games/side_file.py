"""What the files beside stories have in common: ``NAME.pluralign.json``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json

SUFFIX = ".pluralign.json"
"""``NAME.pluralign.json`` stands beside a story, or says where it is."""

WORDS = ("title", "author", "summary", "player_character")
"""What any side file may say in place of the story."""


def read_fields(path: Path, keys: Collection[str], texts: Collection[str]) -> dict[str, Any]:
    """The fields of a side file.

    Args:
        path: the file.
        keys: that it may have.
        texts: those whose values are texts.

    Raises:
        InputError: naming the field and what was expected.
    """
    row = read_json(path)
    if not isinstance(row, dict):
        raise InputError(f"expected an object with {', '.join(keys)}", path=path)
    for key, value in row.items():
        if key not in keys:
            raise InputError(f"unknown; expected {', '.join(keys)}", path=path, field=str(key))
        if key in texts and not isinstance(value, str):
            raise InputError(f"must be a text, found {value!r:.60}", path=path, field=str(key))
    return row


def words_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Title, author, summary and player_character, where given."""
    return {key: row[key] for key in WORDS if key in row}


def names_story(path: Path) -> bool:
    """Whether a path is that of a side file with ``story``: one that names any story and can put
    labels to it, not an Ink story's own.

    Raises:
        InputError: the file cannot be read.
    """
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    row = read_json(path)
    return isinstance(row, dict) and "story" in row
