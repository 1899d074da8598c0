"""Files exchanged between stages: versioned JSON lines.

The first line of a file is its header, ``{"pluralign": KIND, "version": 1, ...}``. Each decision is written
once, on a line of its own with its digest, before the first record that refers to it by number. Files are
therefore small and self-contained. A decision that was changed no longer matches its digest and is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from pluralign.core.errors import InputError
from pluralign.core.files import check_beginning, cut_to_last_line, replace_when_whole, require_plain
from pluralign.core.jsonl import Fields, Row, json_text, read_rows
from pluralign.core.preference import Annotation, PreferencePair
from pluralign.core.record_rows import (
    Decisions,
    Record,
    encode,
    read_annotation,
    read_pair,
    read_trajectory,
)
from pluralign.core.trajectory import Decision, Trajectory

VERSION = 1
_LATER = ("coefficients", "model", "play")
"""Fields of headers that files of earlier versions do not have, and by which these are not refused."""
R = TypeVar("R", Trajectory, Annotation, PreferencePair)


class RecordWriter:
    """Appends records to a file, each decision once; every record is on disk when `write` returns.

    An existing file is continued: its decisions are known, and a line that a kill cut off is removed. A
    writer that finds that another one has written to its file stops, since both number decisions alike.

    Raises:
        InputError: The file is of another kind or has another header (it is left unchanged), cannot be
            written, or is written by another process.
    """

    def __init__(self, path: str | Path, kind: str, header: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        require_plain(self.path)
        self._numbers: dict[str, int] = {}
        # Before the file is there: what JSON does not have is refused.
        first = _encoded([{"pluralign": kind, "version": VERSION, **(header or {})}])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not continues(self.path, kind, header)
            if self.path.exists():
                cut_to_last_line(self.path)
            if not fresh:
                for fields in read_record_rows(self.path, kind):
                    if "decision" in fields.row:
                        self._numbers[fields.get("digest", str)] = fields.get("decision", int)
            self._handle: BinaryIO = self.path.open("ab")
            self._size = os.fstat(self._handle.fileno()).st_size
            if fresh:
                self._append(first)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", path=path) from error

    def write(self, record: Record) -> None:
        """Append one record."""
        rows: list[Row] = []
        body = encode(record, lambda decision: self._number(decision, rows))
        self._append(_encoded([*rows, body]))

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Append a row without decisions, for files of other kinds."""
        self._append(_encoded([dict(row)]))

    def _number(self, decision: Decision, rows: list[Row]) -> int:
        known = self._numbers.get(decision.key)
        if known is not None:
            return known
        number = len(self._numbers)
        self._numbers[decision.key] = number
        rows.append(
            {
                "decision": number,
                "digest": decision.key,
                "prompt": decision.prompt,
                "options": decision.options,
            }
        )
        return number

    def _append(self, text: bytes) -> None:
        try:
            if os.fstat(self._handle.fileno()).st_size != self._size:
                raise InputError("another process writes to this file, too: let one finish", path=self.path)
            self._handle.write(text)
            self._handle.flush()
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", path=self.path) from error
        self._size += len(text)

    def close(self) -> None:
        """Close the file."""
        # What a full disk did not take has been reported, and is written again here.
        with contextlib.suppress(OSError):
            self._handle.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _encoded(rows: Iterable[Row]) -> bytes:
    return "".join(json_text(row) + "\n" for row in rows).encode()


def write_records(
    path: str | Path,
    kind: str,
    records: Iterable[Record],
    header: Mapping[str, Any] | None = None,
) -> None:
    """Write a complete file, under a temporary name that is changed at the end."""
    with replace_when_whole(path) as temporary, RecordWriter(temporary, kind, header) as writer:
        for record in records:
            writer.write(record)


def read_header(path: str | Path, kind: str) -> Row:
    """Header of a file of this kind (``trajectories``, ``annotations`` or ``pairs``)."""
    for fields in read_rows(path):
        return _check_header(fields, kind)
    raise InputError(f"is empty; expected the header of a {kind} file", path=path)


def read_trajectories(path: str | Path, *, drop_cut_off_line: bool = False) -> list[Trajectory]:
    """Read ``trajectories.jsonl``.

    Raises:
        InputError: The file cannot be read; the error names file, row and field.
    """
    return _read(path, "trajectories", read_trajectory, drop_cut_off_line)


def read_annotations(path: str | Path, *, drop_cut_off_line: bool = False) -> list[Annotation]:
    """Read ``annotations.jsonl``; the steps have decisions and actions, no rewards."""
    return _read(path, "annotations", read_annotation, drop_cut_off_line)


def read_pairs(path: str | Path, *, drop_cut_off_line: bool = False) -> list[PreferencePair]:
    """Read ``pairs.jsonl``; the steps have decisions and actions, no rewards."""
    return _read(path, "pairs", read_pair, drop_cut_off_line)


def continues(path: str | Path, kind: str, header: Mapping[str, Any] | None = None) -> bool:
    """Whether a file contains records of this kind that were written under this header.

    Returns:
        False if there is no file yet, or only an incomplete header.

    Raises:
        InputError: The file is of another kind, or its header differs; the error names the difference.
    """
    path = Path(path)
    if not path.exists() or not path.stat().st_size:
        return False
    first = next(read_rows(path, drop_cut_off_line=True), None)
    if first is None:
        check_beginning(path, json.dumps({"pluralign": kind})[:-1].encode(), f"a {kind} file")
        return False
    found = _check_header(first, kind)
    if header is None:
        return True
    # As JSON represents it: lists instead of tuples.
    wanted: Row = json.loads(json_text(dict(header)))
    for field in dict.fromkeys([*wanted, *found]):
        known = wanted.get(field)
        if field in _LATER and field not in found:
            continue
        if field not in ("pluralign", "version") and found.get(field) != known:
            raise first.fail(
                field,
                f"was started with {found.get(field)!r:.120}, not {known!r:.120}: "
                "choose another file, or remove this one",
            )
    return True


def _read(path: str | Path, kind: str, decode: Callable[[Fields, Decisions], R], drop: bool) -> list[R]:
    path = Path(path)
    decisions: Decisions = {}
    records: list[R] = []
    for fields in read_record_rows(path, kind, drop_cut_off_line=drop):
        if "decision" in fields.row:
            decision = Decision(fields.get("prompt", str), fields.texts("options"))
            if decision.key != fields.get("digest", str):
                raise fields.fail("digest", "does not match the prompt and the options: the line was changed")
            number = fields.get("decision", int)
            if decisions.setdefault(number, decision) != decision:
                raise fields.fail(
                    "decision", f"two decisions have the number {number}: two runs wrote this file"
                )
        else:
            try:
                records.append(decode(fields, decisions))
            except InputError as error:
                if error.path is not None:
                    raise
                raise InputError(error.message, path=path, row=fields.number, field=error.field) from error
    return records


def read_record_rows(path: str | Path, kind: str, *, drop_cut_off_line: bool = False) -> Iterator[Fields]:
    """Rows of a file after its header, including those of decisions.

    Raises:
        InputError: The file cannot be read, or its header is not of this kind and version.
    """
    rows = read_rows(path, drop_cut_off_line=drop_cut_off_line)
    first = next(rows, None)
    if first is None:
        raise InputError(f"is empty; expected the header of a {kind} file", path=path)
    _check_header(first, kind)
    yield from rows


def _check_header(fields: Fields, kind: str) -> Row:
    if fields.row.get("pluralign") != kind:
        found = fields.row.get("pluralign")
        raise fields.fail("pluralign", f"expected a {kind} file, found {found!r}")
    version = fields.get("version", int)
    if version != VERSION:
        raise fields.fail("version", f"expected {VERSION}, found {version}; written by another release")
    return fields.row
