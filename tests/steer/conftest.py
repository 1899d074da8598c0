"""A game that searches are tried on, a writer for budgets of samples, and adapters of the tiny model."""

from __future__ import annotations

import pytest
from adapters import adapted

from pluralign.lm.adapters import save_adapter
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


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Two PEFT adapters of the tiny model."""
    place = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("calm", "lively")):
        save_adapter(adapted(seed), place / name)
    return {name: place / name for name in ("calm", "lively")}
