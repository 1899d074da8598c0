"""A JSON-lines file that grows row by row under another name, and takes its own when it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core.errors import InputError


class RowsInProgress:
    """Rows that are written as they come, in a ``with``; a killed run goes on after the last whole one.

    Args:
        path: the file in the end; until then its rows are in ``.NAME.partial`` beside it.
        run: what makes the rows; a partial file of another run is begun anew.

    Raises:
        InputError: the place cannot be written.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        header = json.dumps({"run": run}, sort_keys=True, default=str).encode() + b"\n"
        self.done = 0
        """Rows that are there already."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [header]
            if self._partial.exists():
                lines = self._partial.read_bytes().splitlines(keepends=True)
                if lines[:1] == [header]:
                    kept = [line for line in lines if line.endswith(b"\n")]
                    self.done = len(kept) - 1
            # Cutting off what a kill left half-written must not lose the whole rows before it.
            rewritten = self._partial.with_name(f"{self._partial.name}.tmp")
            rewritten.write_bytes(b"".join(kept))
            rewritten.replace(self._partial)
            self._handle = self._partial.open("ab")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error

    def __enter__(self) -> RowsInProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.close()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows; they are on the disk when this returns."""
        try:
            for row in rows:
                self._handle.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            self._handle.flush()
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=self.path) from error
        self.done += len(rows)

    def finish(self) -> None:
        """All rows are there: give the file its name."""
        self._handle.close()
        try:
            rewritten = self._partial.with_name(f"{self._partial.name}.tmp")
            with self._partial.open("rb") as source, rewritten.open("wb") as target:
                source.readline()
                while block := source.read(1 << 20):
                    target.write(block)
            rewritten.replace(self.path)
            self._partial.unlink()
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=self.path) from error
