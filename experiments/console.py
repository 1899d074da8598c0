"""Output of the experiment scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pluralign.core.files import replace_when_whole


def say(message: str) -> None:
    """Print a line immediately, also if the output is a file."""
    print(message, flush=True)


def wrote(path: Path, what: str) -> None:
    """Report a file that was written."""
    say(f"wrote {path}  ({what})")


def write_page(path: Path, lines: Sequence[str]) -> None:
    """Write a page of results, whole or not at all."""
    with replace_when_whole(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
