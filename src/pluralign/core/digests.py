"""Digests of files and of values: what a card, a header or a cache is recognised by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(parts: Iterable[bytes], *, size: int = 16) -> str:
    """BLAKE2b of some bytes, one part after the other.

    Args:
        parts: Bytes to digest; where they are split plays no part.
        size: Bytes of the digest.

    Returns:
        2 ``size`` hexadecimal digits, equal across processes.
    """
    found = hashlib.blake2b(digest_size=size)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def file_digest(path: str | Path) -> str:
    """Digest of a file's content, for cards: the first 32 hexadecimal digits of its BLAKE2b-512."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits: what ``sha256sum`` prints."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def source_digest(data: str | Path) -> dict[str, str]:
    """Provenance of data, for cards: ``{"file", "file_digest"}``; of a folder or a hub id the name alone."""
    path = Path(data)
    if not path.is_file():
        return {"file": str(data)}
    return {"file": path.name, "file_digest": file_digest(path)}
