"""The three data sets, and their division into development, training, validation and test pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pluralign.core import PreferencePair
from pluralign.core.splits import seed_for
from pluralign.data.load import load_pairs

DATASETS = {
    "harmless": "hh_rlhf/harmless.jsonl.gz",
    "helpful": "hh_rlhf/helpful.jsonl.gz",
    "utilitarianism": "ethics/utilitarianism.jsonl.gz",
}
BUCKETS = 5
DEVELOPMENT = (0, 1)
"""Buckets for choosing settings; no test fold of the default ones has a prompt from them."""
FOLDS = (2, 3, 4)
"""Buckets of the default test folds; each fold trains on all other buckets."""


def load(data: Path, name: str, most: int | None) -> list[PreferencePair]:
    """At most this many pairs of a data set, in a fixed order, including pairs with two prompts."""
    found = load_pairs(data / DATASETS[name], name, two_prompts=True)
    return sorted(found, key=lambda pair: seed_for(_text(pair), 11))[:most]


def bucket(pair: PreferencePair) -> int:
    """One of five buckets, by the prompt; without a prompt, by the texts."""
    return seed_for(_text(pair), 7) % BUCKETS


def development(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """Pairs of the development buckets: a quarter of the prompts for validation, the rest for training."""
    mine = [pair for pair in pairs if bucket(pair) in DEVELOPMENT]
    return [
        replace(pair, split="validation" if seed_for(_text(pair), 13) % 4 == 0 else "train") for pair in mine
    ]


def fold(pairs: Sequence[PreferencePair], test: int) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Training pairs and test pairs of one fold."""
    train = [replace(pair, split="train") for pair in pairs if bucket(pair) != test]
    return train, [replace(pair, split="test") for pair in pairs if bucket(pair) == test]


def _text(pair: PreferencePair) -> str:
    decision = pair.chosen.steps[0].decision
    return decision.prompt or "\0".join(sorted(decision.options))
