"""Parsing of policies on the command line."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import named_entries


def parse_policies(entries: tuple[str, ...]) -> dict[str, Path]:
    """Read ``NAME=DIR`` entries.

    Raises:
        InputError: See `named_entries`.
    """
    found = named_entries(entries, "policies", "NAME=DIR", required=False)
    return {name: Path(folder) for name, folder in found.items()}
