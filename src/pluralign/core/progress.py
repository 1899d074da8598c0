"""Progress bars on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """A progress bar with counts and remaining time, as a context manager; shown on a terminal only.

    Args:
        total: Total number of items.
        label: Description of the work.
        unit: Name of one item.
        done: Number of items finished before.
        shown: Whether to show the bar on a terminal.
    """

    def __init__(
        self, total: int, label: str = "", *, unit: str = "it", done: int = 0, shown: bool = True
    ) -> None:
        self._bar: Any = None
        # A program without a terminal may have no standard error at all.
        if shown and sys.stderr and sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, initial=done, desc=label or None, unit=unit)

    def advance(self, items: int = 1) -> None:
        """Add finished items."""
        if self._bar is not None:
            self._bar.update(items)

    def note(self, text: str) -> None:
        """Show a text after the counts."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Close the bar; its last state stays on the screen."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
