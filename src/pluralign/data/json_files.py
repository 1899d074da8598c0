"""Files of JSON: what `datasets` reads from them otherwise than they are written, or does not report."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import once
from pluralign.data.table_files import opened

_NEXT = re.compile(r"[^\s,]")


def is_json(file: str | Path) -> bool:
    """Whether it is a file of JSON or of JSON lines, by its name."""
    return Path(file).is_file() and str(file).lower().removesuffix(".gz").endswith((".json", ".jsonl"))


def json_rows(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a file, whose fields may have any type.

    Raises:
        ValueError: They are not in a list or in lines.
    """
    with opened(path) as handle:
        text = handle.read().decode("utf-8-sig")
    if text.startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def require_once(source: Path) -> None:
    """Refuse objects with a field twice, of which `datasets` mostly takes the last.

    Args:
        source: File, or folder.

    Raises:
        InputError: A field occurs twice; the error names file and row.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    for file in filter(is_json, files):
        # What is no JSON is reported when it is read.
        with contextlib.suppress(OSError, EOFError, RecursionError, json.JSONDecodeError, UnicodeDecodeError):
            _require_once(file)


def _require_once(file: Path) -> None:
    row = 0
    try:
        with opened(file) as handle:
            start = handle.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
            handle.seek(0)
            if not start.startswith(b"["):
                for line in handle:
                    row += 1
                    if line.strip():
                        json.loads(line, object_pairs_hook=once)
                return
            text = handle.read().decode("utf-8-sig")
        decoder, place = json.JSONDecoder(object_pairs_hook=once), text.index("[") + 1
        while (found := _NEXT.search(text, place)) and found[0] != "]":
            row += 1
            _, place = decoder.raw_decode(text, found.start())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:
        raise InputError(str(error), path=file, row=row) from error


def explain(source: str | Path) -> Iterator[InputError]:
    """Errors for the invalid lines of a JSON-lines file, which `datasets` does not report."""
    path = Path(source)
    name = path.name.lower().removesuffix(".gz")
    if not path.is_file() or not name.endswith((".jsonl", ".json")):
        return
    try:
        with opened(path) as handle:
            if name.endswith(".json") and handle.read(64).lstrip().startswith(b"["):
                return
            handle.seek(0)
            lines = handle.read().split(b"\n")
    except (OSError, EOFError) as error:
        yield InputError(f"cannot be read: {error}", path=path)
        return
    if not any(line.strip() for line in lines):
        yield InputError("is empty; expected rows", path=path)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield InputError(f"not JSON ({error})", path=path, row=number)
            continue
        if not isinstance(row, dict):
            yield InputError(f"expected a JSON object, found {type(row).__name__}", path=path, row=number)
