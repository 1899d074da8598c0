"""What the experiment scripts print."""

from __future__ import annotations

from pathlib import Path


def say(message: str) -> None:
    """Print a line at once, also where the output is a file."""
    print(message, flush=True)


def wrote(path: Path, what: str) -> None:
    """Print which file was written."""
    say(f"wrote {path}  ({what})")
