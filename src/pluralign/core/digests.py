"""Digests of files and values, which identify them in cards, headers and caches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def files_digest(path: str | Path) -> str:
    """Digest of a file's content, or of the names and contents of all files in a folder but hidden ones."""
    path = Path(path)
    if path.is_file():
        return file_digest(path)
    inner = ((one.relative_to(path).as_posix(), one) for one in sorted(path.rglob("*")) if one.is_file())
    shown = ((name, one) for name, one in inner if not name.startswith(".") and "/." not in name)
    return digest(f"{name} {file_digest(one)}\n".encode() for name, one in shown)


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
