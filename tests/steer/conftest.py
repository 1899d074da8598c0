"""A game that searches are tried on, and a writer for budgets of samples."""

from __future__ import annotations

import pytest

from pluralign.lm.decoding import Decoding
from pluralign.steer.writers import open_writer


@pytest.fixture(scope="module")
def tree_game():
    """Three layers of two options without common states; 8 ends, of which the one worth 7 is last."""
    table = {}
    for depth in range(3):
        for number in range(2**depth):
            name = f"{depth}.{number}" if depth else "s"
            table[name] = [(0, f"{depth + 1}.{2 * number + a}") for a in range(2)]
    for number in range(4):
        table[f"2.{number}"] = [(2 * number, "end"), (2 * number + 1, "end")]
    return table


@pytest.fixture(scope="module")
def writer():
    """A tiny model that completes prompts."""
    return open_writer("tiny-random", Decoding(6), dtype="float32")
