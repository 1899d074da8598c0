"""Who belongs where, decided by name alone: splits and seeds that no order of work can change."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

from pluralign.core.errors import InputError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def seed_for(text: str, seed: int = 0) -> int:
    """A seed, from 0 to 2**63 - 1, that depends on the text and the seed alone, across processes."""
    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def check_shares(shares: Sequence[float]) -> tuple[float, float, float]:
    """The shares of train, validation and test, if they are such.

    Raises:
        InputError: not three, negative, or not summing to one within 1e-6.
    """
    if len(shares) != 3 or not all(math.isfinite(s) and s >= 0 for s in shares):
        raise InputError(f"expected three shares, none negative, found {list(shares)}", field="shares")
    if abs(math.fsum(shares) - 1.0) > 1e-6:
        raise InputError(f"shares must sum to 1, found {list(shares)}", field="shares")
    return (shares[0], shares[1], shares[2])


def split_of(name: str, *, seed: int = 0, shares: Sequence[float] = SHARES) -> Split:
    """The split that a trajectory (or a prompt) belongs to, by a hash of its name.

    Whatever else is in the data, and in whatever order it comes, the answer is the same, so
    that data collected later never moves an older trajectory into another split.

    Args:
        name: the trajectory's id.
        seed: another seed, another assignment.
        shares: expected shares of train, validation and test, summing to one.

    Raises:
        InputError: the shares cannot be used.
    """
    train, validation, _ = check_shares(shares)
    place = seed_for(name, seed) / 2**63
    if place < train:
        return "train"
    return "validation" if place < train + validation else "test"
