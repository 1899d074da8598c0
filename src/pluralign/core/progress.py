"""The progress bar that long work shows on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """A bar with counts and the time that remains, for use in a ``with``; on a terminal only.

    Args:
        total: Items in all.
        label: What is being done.
        unit: Name of one item.
        done: Items finished before.
        shown: Whether to show the bar on a terminal.
    """

    def __init__(
        self, total: int, label: str = "", *, unit: str = "it", done: int = 0, shown: bool = True
    ) -> None:
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, initial=done, desc=label or None, unit=unit)

    def advance(self, items: int = 1) -> None:
        """Count more items as finished."""
        if self._bar is not None:
            self._bar.update(items)

    def note(self, text: str) -> None:
        """Show a text behind the counts."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """End the bar; its last state stays on the screen."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
