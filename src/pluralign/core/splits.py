"""Deterministic splits and seeds, derived from a hash of the record's name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal

from pluralign.core.errors import InputError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def seed_for(text: str, seed: int = 0) -> int:
    """A seed, from 0 to 2**63 - 1, that depends on the text and the seed only, across processes."""
    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def check_shares(shares: Sequence[float]) -> tuple[float, float, float]:
    """Validate shares of train, validation and test.

    Raises:
        InputError: There are not three shares, one is negative, or they do not sum to one within 1e-6.
    """
    if len(shares) != 3 or not all(math.isfinite(s) and s >= 0 for s in shares):
        raise InputError(f"expected three shares, none negative, found {list(shares)}", field="shares")
    if abs(math.fsum(shares) - 1.0) > 1e-6:
        raise InputError(f"shares must sum to 1, found {list(shares)}", field="shares")
    return (shares[0], shares[1], shares[2])


def split_of(name: str, *, seed: int = 0, shares: Sequence[float] = SHARES) -> Split:
    """Split of a trajectory (or a prompt), by a hash of its name.

    The split does not depend on other data or their order, so data collected later never moves an older
    trajectory to another split.

    Args:
        name: Id of the trajectory.
        seed: Seed of the assignment.
        shares: Expected shares of train, validation and test, summing to one.

    Raises:
        InputError: The shares are invalid.
    """
    train, validation, _ = check_shares(shares)
    place = seed_for(name, seed) / 2**63
    if place < train:
        return "train"
    return "validation" if place < train + validation else "test"


def split_names(names: Sequence[str], shared: Sequence[Collection[str]]) -> list[str]:
    """Names by which rows get their splits (`split_of`), so that rows with a text in common are in one split.

    Args:
        names: Own name of each row.
        shared: Texts of each row, at least one, that other rows may have as well.

    Returns:
        The row's own name; where rows of several names have texts in common, also by way of other rows, the
        first of all their texts in alphabetical order.

    Examples:
        >>> split_names(["a", "b", "c", "d"], [["x"], ["x", "y"], ["y"], ["z"]])
        ['x', 'x', 'x', 'd']
    """
    root: dict[str, str] = {}

    def find(text: str) -> str:
        while root.setdefault(text, text) != text:
            root[text] = root[root[text]]
            text = root[text]
        return text

    for texts in shared:
        for one, other in pairwise(texts):
            # The root of a family is the first of its texts.
            first, second = sorted((find(one), find(other)))
            root[second] = first
    families = [find(next(iter(texts))) for texts in shared]
    own: dict[str, set[str]] = {}
    for name, family in zip(names, families, strict=True):
        own.setdefault(family, set()).add(name)
    return [name if len(own[family]) == 1 else family for name, family in zip(names, families, strict=True)]
