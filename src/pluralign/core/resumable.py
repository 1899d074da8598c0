"""JSON-lines files that are written row by row under a temporary name and renamed when complete."""

from __future__ import annotations

import contextlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from pluralign.core.errors import InputError
from pluralign.core.files import file_to_write
from pluralign.core.jsonl import json_text
from pluralign.core.progress import ProgressBar

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Opened = TypeVar("Opened")


def run_batches(
    path: Path,
    run: Mapping[str, Any],
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Sequence[Mapping[str, Any]]],
    *,
    batch: int | Sequence[int],
    header: Mapping[str, Any] | None = None,
    label: str = "",
    unit: str = "item",
    size: Callable[[Item], int] | None = None,
    shown: bool = True,
) -> None:
    """Turn items into rows of a JSON-lines file, batch by batch; a killed run continues.

    A continued run has the same batches as one that was never interrupted.

    Args:
        path: File to write. It appears when it is complete; see `RowsInProgress`.
        run: Settings that the rows depend on; rows of a run with other settings are discarded.
        items: Items, one per row.
        work: Function from the items of a batch to their rows, one row per item.
        batch: Number of items per batch; or the end of each batch, ascending, up to ``len(items)``.
        header: Row to write before the items' rows.
        label: Text before the progress bar.
        unit: Unit of the progress bar.
        size: Function from an item to its size in that unit; 1 by default.
        shown: Whether to show a progress bar on a terminal.

    Raises:
        InputError: The file cannot be written.
    """
    sizes = [1 if size is None else size(item) for item in items]
    ends = range(batch, len(items) + batch, batch) if isinstance(batch, int) else batch
    first = 0 if header is None else 1
    with RowsInProgress(path, run) as target:
        done = max(target.done - first, 0)
        with ProgressBar(sum(sizes), label, unit=unit, done=sum(sizes[:done]), shown=shown) as bar:
            while done < len(items):
                end = min(ends[bisect_right(ends, done)], len(items))
                rows = work(items[done:end])
                if len(rows) != end - done:
                    raise ValueError(f"{end - done} items became {len(rows)} rows")
                target.write([header, *rows] if header is not None and not target.done else rows)
                bar.advance(sum(sizes[done:end]))
                done = end
        if header is not None and not target.done:
            target.write([header])
        target.finish()


def run_unordered(
    path: Path,
    run: Mapping[str, Any],
    count: int,
    work: Callable[[Sequence[int]], Iterable[tuple[int, Mapping[str, Any]]]],
    *,
    label: str = "",
    unit: str = "item",
    shown: bool = True,
) -> None:
    """Turn items into rows of a JSON-lines file, written as they are finished; a killed run continues.

    The complete file has the items' order. A continued run works on the items without a row.

    Args:
        path: File to write. It appears when it is complete; see `RowsInProgress`.
        run: Settings that the rows depend on; rows of a run with other settings are discarded.
        count: Number of items.
        work: Function from the numbers of items, ascending, to (number, row) in any order, once for each.
        label: Text before the progress bar.
        unit: Unit of the progress bar.
        shown: Whether to show a progress bar on a terminal.

    Raises:
        InputError: The file cannot be written.
    """
    with RowsInProgress(path, {**run, "rows": "as finished"}) as target:
        done = target.numbered()
        missing = [number for number in range(count) if number not in done]
        with ProgressBar(count, label, unit=unit, done=len(done), shown=shown) as bar:
            for number, row in work(missing) if missing else ():
                target.write([{"item": number, "row": row}])
                bar.advance()
        if len(done := target.numbered()) != count:
            raise ValueError(f"{count} items became {len(done)} rows")
        target.finish(order=[done[number] for number in range(count)])


class OneAtATime(Generic[Key, Opened]):
    """A cache of the last opened object: two large models may not fit in memory.

    Args:
        open: Function that opens the object with a key.
    """

    def __init__(self, open: Callable[[Key], Opened]) -> None:
        self._open = open
        self._held: dict[Key, Opened] = {}

    def __call__(self, key: Key) -> Opened:
        """The object with this key; an object with another key is released first."""
        if key not in self._held:
            self._held.clear()
            self._held[key] = self._open(key)
        return self._held[key]


class RowsInProgress:
    """A context manager that writes rows as they arrive; a killed run continues after the last complete row.

    A run that begins takes over the rows of the one before, even if that one still runs, which then stops at
    its next row.

    Args:
        path: File to write; until it is finished, its rows are in ``.NAME.partial`` in the same folder.
        run: Settings that the rows depend on; rows written with other settings are discarded.

    Raises:
        InputError: The file cannot be written, or another run has taken it over.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = file_to_write(path)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        header = json.dumps({"run": run}, sort_keys=True, default=str).encode() + b"\n"
        self.done = 0
        """Number of rows written so far."""
        self._new_folders = [folder for folder in self.path.parents if not folder.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [header]
            if self._partial.exists():
                lines = self._partial.read_bytes().splitlines(keepends=True)
                if lines[:1] == [header]:
                    kept = [line for line in lines if line.endswith(b"\n")]
                    self.done = len(kept) - 1
            # Cutting off an incomplete row after a kill must not lose the complete rows before it.
            rewritten = self._partial.with_name(f"{self._partial.name}.tmp")
            rewritten.write_bytes(b"".join(kept))
            rewritten.replace(self._partial)
            self._handle = self._partial.open("ab")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error

    def __enter__(self) -> RowsInProgress:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file; nothing is left of a run that failed before its first row."""
        unfinished = not self._handle.closed and self._is_own()
        # What a full disk did not take has been reported, and is written again here.
        with contextlib.suppress(OSError):
            self._handle.close()
        if self.done or not unfinished:
            return
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
            for folder in self._new_folders:
                folder.rmdir()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows; they are on disk when this returns."""
        self._require_own()
        try:
            for row in rows:
                self._handle.write(json_text(row).encode() + b"\n")
            self._handle.flush()
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=self.path) from error
        self.done += len(rows)

    def _is_own(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._handle.fileno()), self._partial.stat())
        except FileNotFoundError:
            return False

    def _require_own(self) -> None:
        if not self._is_own():
            raise InputError("another run has taken over this file: let one finish", path=self.path)

    def rows(self) -> Iterator[Any]:
        """The rows in the file in progress, in order."""
        with self._partial.open("rb") as source:
            source.readline()
            yield from map(json.loads, source)

    def drop(self) -> None:
        """Remove the file in progress: the rows were needed only to make another file."""
        self._partial.unlink(missing_ok=True)
        self.done = 0

    def numbered(self) -> dict[int, int]:
        """Byte offset of each row ``{"item": NUMBER, "row": ROW}`` in the file in progress, by its number."""
        self._require_own()
        found: dict[int, int] = {}
        with self._partial.open("rb") as source:
            source.readline()
            start = source.tell()
            for line in source:
                found[json.loads(line)["item"]] = start
                start += len(line)
        return found

    def finish(self, *, order: Sequence[int] | None = None) -> None:
        """Rename the file to its final name, since all rows are written.

        Args:
            order: Byte offsets of numbered rows, in the order of the final file; None keeps all rows as they
                were written.

        Raises:
            InputError: The file cannot be written, or another run has taken it over.
        """
        self._require_own()
        self._handle.close()
        try:
            rewritten = self._partial.with_name(f"{self._partial.name}.tmp")
            with self._partial.open("rb") as source, rewritten.open("wb") as target:
                source.readline()
                if order is None:
                    while block := source.read(1 << 20):
                        target.write(block)
                else:
                    target.writelines(_rows_at(source, order))
            rewritten.replace(self.path)
            self._partial.unlink()
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=self.path) from error


def _rows_at(source: BinaryIO, offsets: Sequence[int]) -> Iterator[bytes]:
    for offset in offsets:
        source.seek(offset)
        yield json_text(json.loads(source.readline())["row"]).encode() + b"\n"
