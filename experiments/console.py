"""Output of the experiment scripts."""

from __future__ import annotations

from pathlib import Path


def say(message: str) -> None:
    """Print a line immediately, also if the output is a file."""
    print(message, flush=True)


def wrote(path: Path, what: str) -> None:
    """Report a file that was written."""
    say(f"wrote {path}  ({what})")
