"""The audit file: JSON lines about requests, each complete and of bounded length."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pluralign.core import InputError

# Maximum length of a line, in bytes; longer texts are cut.
_LONGEST = 1 << 16
# Number of refusals that are written in as many seconds; the others are counted, so that clients without a
# token cannot fill the disk.
_REFUSALS, _SECONDS = 100, 10.0


class Audit:
    """An append-only file of JSON lines that only its owner may read.

    Args:
        path: Path of the file; created with mode 0600 if it does not exist.
        texts: Whether what users and models write is part of the lines.
        required: Whether requests are refused while lines cannot be written.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: Path, *, texts: bool = False, required: bool = False) -> None:
        self.path, self.texts, self.required = Path(path), texts, required
        self.failure: str | None = None
        """Why the last line could not be written; None if it was."""
        self._window, self._refusals, self._omitted = 0.0, 0, 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file: int | None = os.open(self.path, flags, 0o600)
            # Whether the file ends in the middle of a line, of an earlier server or of a failed write.
            self._torn = _ends_within_line(self.path)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error

    def write(self, row: Mapping[str, Any], texts: Mapping[str, Any] | None = None) -> None:
        """Write a complete line; the operating system has it when this returns.

        Args:
            row: Fields of the line.
            texts: Further fields, with what users and models wrote; left out unless the file has texts.

        Raises:
            OSError: The disk is full, or the file is closed.
        """
        data = _line(row, (texts or {}) if self.texts else {})
        try:
            self._append(b"\n" + data if self._torn else data)
        except OSError as error:
            self.failure = error.strerror or str(error)
            raise
        self.failure = None

    def refused(self, row: Mapping[str, Any]) -> None:
        """Write a line about a refused request, unless there have been too many; the next line counts those.

        Raises:
            OSError: See `write`.
        """
        now = time.monotonic()
        if now - self._window > _SECONDS:
            self._window, self._refusals = now, 0
        if self._refusals >= _REFUSALS:
            self._omitted += 1
            return
        self._refusals += 1
        self.write({**row, **({"omitted": self._omitted} if self._omitted else {})})
        self._omitted = 0

    def check(self) -> str | None:
        """Why lines cannot be written, after another try if the last one failed; None if they can."""
        if self.failure is not None:
            try:
                self.write({"event": "resumed"})
            except OSError:
                return self.failure
        return None

    def close(self) -> None:
        """Close the file; later writes fail."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, data: bytes) -> None:
        if self._file is None:
            raise OSError("the audit file is closed")
        whole = len(data)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        finally:
            if len(data) < whole:
                self._torn = bool(data)


def _line(row: Mapping[str, Any], texts: Mapping[str, Any]) -> bytes:
    fields = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **row}
    data = json.dumps({**fields, **texts}, ensure_ascii=False).encode()
    if len(data) > _LONGEST:
        # A character has at most four bytes, or two if it is escaped again.
        share = _LONGEST // 8 // max(1, len(texts))
        cut = {name: json.dumps(value, ensure_ascii=False)[:share] for name, value in texts.items()}
        data = json.dumps({**fields, **cut, "cut": True}, ensure_ascii=False).encode()
    return data + b"\n"


def _ends_within_line(path: Path) -> bool:
    if not stat.S_ISREG(path.stat().st_mode) or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
