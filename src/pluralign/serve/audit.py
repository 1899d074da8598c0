"""A line for every request for text: who set which weights, and what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pluralign.core import InputError


class Audit:
    """A file of JSON lines that only grows; its owner alone may read it.

    Args:
        path: made, with mode 0600, where it does not exist.
        texts: write prompts and answers, too.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, path: Path, *, texts: bool = False) -> None:
        self.path, self.texts = Path(path), texts
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file: int | None = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error

    def write(self, row: Mapping[str, Any], prompt: Any, answers: list[str]) -> None:
        """Write a line, whole; it is with the system when this returns.

        Raises:
            OSError: the disk is full, or the file is closed.
        """
        texts = {"prompt": prompt, "answers": answers} if self.texts else {}
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = (json.dumps({"time": time, **row, **texts}, ensure_ascii=False) + "\n").encode()
        if self._file is None:
            raise OSError("the audit file is closed")
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Nothing is written after this."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
