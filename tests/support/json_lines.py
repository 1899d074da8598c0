"""Files of JSON lines in tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows, one a line; compressed where the name ends with .gz."""
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def rows_of(path: Path) -> list[Any]:
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
