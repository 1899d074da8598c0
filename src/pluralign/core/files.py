"""Atomic writing of files: a file is complete or does not appear."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

from pluralign.core.errors import InputError
from pluralign.core.jsonl import check_encodable, json_text, once

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_KINDS = re.compile(r"(?:[a-z-]+:)+(?=~/)")


def cache_folder() -> Path:
    """``$PLURALIGN_CACHE``, by default ``~/.cache/pluralign``."""
    return Path(in_home(os.environ.get("PLURALIGN_CACHE") or "~/.cache/pluralign"))


def in_home(path: str | Path) -> str | Path:
    """A path with the user's folder for a leading ``~``, which only shells replace, and also after kinds such
    as ``closed-form:``, where they do not.

    >>> in_home("runs/~"), in_home("~/runs") == str(Path.home() / "runs")
    ('runs/~', True)
    >>> in_home("closed-form:~/runs") == f"closed-form:{Path.home() / 'runs'}"
    True
    """
    kind = _KINDS.match(str(path))
    if kind is not None:
        return type(path)(kind[0] + os.path.expanduser(str(path)[kind.end() :]))  # noqa: PTH111
    if not str(path).startswith("~"):
        return path
    # `Path.expanduser` fails where there is no such user, as in "~1".
    return type(path)(os.path.expanduser(path))  # noqa: PTH111


def file_to_write(path: str | Path) -> Path:
    """The file that an output replaces: of a link, what it points to.

    Raises:
        InputError: There is a folder, or a device or a pipe, which a file cannot replace; or the name is that
            of a compressed file.
    """
    path = Path(path)
    require_plain(path)
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "a device or a pipe"
            raise InputError(f"is {what}; expected a file", path=path)
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot be written: {error}", path=path) from error


def require_plain(path: str | Path) -> None:
    """Refuse an output with the name of a compressed file, which no program could unpack.

    Raises:
        InputError: The name is that of a compressed file.
    """
    suffix = Path(path).suffix
    if suffix.lower() in _COMPRESSED:
        raise InputError(f"outputs are not compressed: choose a name without {suffix}", path=path)


@contextlib.contextmanager
def replace_when_whole(path: str | Path) -> Generator[Path]:
    """Provide a temporary path next to ``path`` to write to; rename it to ``path`` on success and remove it
    on failure.

    Raises:
        InputError: The disk is full, or the path cannot be written.
    """
    path = Path(path)
    target = file_to_write(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error
    except InputError as error:
        if str(error.path) != str(temporary):
            raise
        raise InputError(error.message, path=path, row=error.row, field=error.field) from error
    finally:
        # If a parent is not a folder, unlink fails too and would hide the first error.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_free(folder: str | Path, *, ignored: Collection[str] = ()) -> None:
    """Check an output folder before it gets files: it must not exist, or must be empty but for temporary
    files of writers that were killed (`replace_when_whole`).

    Args:
        folder: Output folder.
        ignored: Names of entries that it may have.

    Raises:
        InputError: The folder has other entries, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file; expected an output folder", path=folder)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if any(name not in ignored and not _TEMPORARY.fullmatch(name) for name in names):
        raise InputError("exists and is not empty; choose another folder", path=folder)


@contextlib.contextmanager
def folder_when_whole(folder: str | Path) -> Generator[Path]:
    """Provide a temporary folder next to an output folder to write to; on success its files are moved there,
    on failure removed.

    Raises:
        InputError: The output folder is not free (`require_free`), the disk is full, or it cannot be written.
    """
    require_free(folder)
    target = Path(folder).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        # An empty folder may be the one that the user is in, so it stays.
        target.mkdir(exist_ok=True)
        for entry in sorted(temporary.iterdir()):
            entry.replace(target / entry.name)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_beginning(path: str | Path, start: bytes, what: str) -> None:
    """Check that a file without a complete line is one of ours that a kill cut off; an empty file is.

    Args:
        path: The file.
        start: What files of this kind begin with.
        what: The kind, for the error.

    Raises:
        InputError: The file begins otherwise.
    """
    with Path(path).open("rb") as handle:
        begun = handle.read(len(start))
    if not start.startswith(begun):
        raise InputError(f"is not {what}: choose another name", path=path)


def cut_to_last_line(path: str | Path) -> None:
    """Remove the end of a file after its last line break: a line that a kill cut off."""
    with Path(path).open("rb+") as handle:
        data = handle.read()
        if not data.endswith(b"\n"):
            handle.truncate(data.rfind(b"\n") + 1)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file, completely or not at all, and return its path."""
    with replace_when_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, completely or not at all; null stands for NaN and infinities."""
    write_text(path, json_text(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing, is not JSON or has a field twice, or a text in it cannot be encoded.
    """
    try:
        source = Path(path).read_text(encoding="utf-8")
        value = json.loads(source, object_pairs_hook=once)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", path=path) from error
    if "\\ud" in source.lower():
        check_encodable(value, path)
    return value
