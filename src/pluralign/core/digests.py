"""Digests of files and values, which identify them in cards, headers and caches."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

_BLOCK, _BLOCKS = 4096, 4096
"""Size of the blocks of a large file that are read, in bytes, and their number."""


def digest(parts: Iterable[bytes], *, size: int = 16) -> str:
    """BLAKE2b digest of concatenated bytes.

    Args:
        parts: Bytes to digest; only their concatenation matters.
        size: Size of the digest in bytes.

    Returns:
        The digest, 2 ``size`` hexadecimal digits, equal across processes.
    """
    found = hashlib.blake2b(digest_size=size)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def file_digest(path: str | Path) -> str:
    """Digest of a file's content, for cards: the first 32 hexadecimal digits of its BLAKE2b-512."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]


def sampled_digest(path: str | Path) -> str:
    """Digest of a file's size and of blocks all over it: weights are too large to be read whole, and training
    changes them everywhere. Files of up to 16 MiB are read whole."""
    size = Path(path).stat().st_size

    def parts() -> Iterator[bytes]:
        yield str(size).encode()
        with Path(path).open("rb") as handle:
            for start in range(0, size, max(_BLOCK, size // _BLOCKS)):
                handle.seek(start)
                yield handle.read(_BLOCK)

    return digest(parts())


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits, as ``sha256sum`` prints it."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def source_digest(data: str | Path) -> dict[str, str]:
    """Provenance of data, for cards: ``{"file", "file_digest"}``; for a folder or a hub id, the name only."""
    path = Path(data)
    if not path.is_file():
        return {"file": str(data)}
    return {"file": path.name, "file_digest": file_digest(path)}


def function_digest(function: Callable[..., Any]) -> str:
    """Digest of a function's source and of the plain values that it was made with: arguments of a
    `functools.partial`, defaults, variables of the function around it. An object's is that of its class and
    of its attributes.

    Args:
        function: A function, or an object that is called like one.

    Returns:
        The digest; empty where there is no source, as of built-in functions.
    """
    values: list[Any] = []
    while isinstance(function, partial):
        values += [_plain(one) for one in (*function.args, *sorted(function.keywords.items()))]
        function = function.func
    written = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
    try:
        source = inspect.getsource(written)
    except (OSError, TypeError):
        return ""
    values += [_constant(one) for one in _made_with(function)]
    return digest([source.encode(), *([json.dumps(values).encode()] if values else [])])


def _made_with(function: Any) -> Iterator[Any]:
    named: dict[str, Any] = getattr(function, "__kwdefaults__", None) or {}
    yield from getattr(function, "__defaults__", None) or ()
    yield from sorted(named.items())
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # not assigned yet
            yield cell.cell_contents
    owner = getattr(function, "__self__", function)
    if not (inspect.isroutine(owner) or inspect.isclass(owner) or inspect.ismodule(owner)):
        yield from sorted(getattr(owner, "__dict__", {}).items())


def _plain(value: Any) -> Any:
    """What JSON can express, and the type of everything else, whose text may have an address in it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return type(value).__name__
    return value


def _constant(value: Any) -> Any:
    """Numbers, texts and tuples of them, and the type of everything else: a list may be filled in use."""
    if isinstance(value, tuple):
        return [_constant(one) for one in cast("tuple[Any, ...]", value)]
    return value if isinstance(value, str | int | float | None) else type(value).__name__
