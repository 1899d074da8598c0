"""The three data sets, and their division into development, training, validation and test pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pluralign.core import PreferencePair
from pluralign.core.splits import seed_for, split_names
from pluralign.data.load import load_pairs
from pluralign.data.text_pairs import ASSISTANT

DATASETS = {
    "harmless": "hh_rlhf/harmless.jsonl.gz",
    "helpful": "hh_rlhf/helpful.jsonl.gz",
    "utilitarianism": "ethics/utilitarianism.jsonl.gz",
}
BUCKETS = 5
DEVELOPMENT = (0, 1)
"""Buckets for choosing settings; no test fold of the default ones has a family from them."""
FOLDS = (2, 3, 4)
"""Buckets of the default test folds; each fold trains on all other buckets."""


def load(data: Path, name: str, most: int | None) -> list[PreferencePair]:
    """At most this many pairs of a data set, in a fixed order, including pairs with two prompts."""
    found = load_pairs(data / DATASETS[name], name, two_prompts=True)
    return sorted(found, key=lambda pair: seed_for(_name(pair), 11))[:most]


def families(pairs: Sequence[PreferencePair]) -> list[str]:
    """Name of each pair's family: pairs with a text, the first sentence of a text without a prompt, or the
    opening turn of a dialogue in common, also by way of other pairs.

    ETHICS compares a scenario with several others, and HH-RLHF has answers at several places of a dialogue.
    """
    return split_names([_name(pair) for pair in pairs], [_shared(pair) for pair in pairs])


def buckets(pairs: Sequence[PreferencePair]) -> list[int]:
    """Bucket of each pair, the same for a whole family.

    Settings were chosen on pairs whose own names are in the development buckets; their families are there,
    too.
    """
    names = families(pairs)
    least = dict.fromkeys(names, BUCKETS)
    for pair, name in zip(pairs, names, strict=True):
        least[name] = min(least[name], seed_for(_name(pair), 7) % BUCKETS)
    return [
        least[name] if least[name] in DEVELOPMENT else FOLDS[seed_for(name, 7) % len(FOLDS)] for name in names
    ]


def fold(
    pairs: Sequence[PreferencePair], test: int
) -> tuple[list[PreferencePair], list[PreferencePair], list[int]]:
    """Training pairs and test pairs of one fold, a bucket; and the number of each test pair's family."""
    placed = list(zip(pairs, buckets(pairs), strict=True))
    train = [replace(pair, split="train") for pair, bucket in placed if bucket != test]
    tested = [replace(pair, split="test") for pair, bucket in placed if bucket == test]
    numbers: dict[str, int] = {}
    names = [name for name, (_, bucket) in zip(families(pairs), placed, strict=True) if bucket == test]
    return train, tested, [numbers.setdefault(name, len(numbers)) for name in names]


def _name(pair: PreferencePair) -> str:
    decision = pair.chosen.steps[0].decision
    return decision.prompt or "\0".join(sorted(decision.options))


def _shared(pair: PreferencePair) -> list[str]:
    found: list[str] = []
    for prompt, completion in pair.texts():
        if ASSISTANT in prompt:
            found.append(prompt.partition(ASSISTANT)[0])
        else:
            text = (prompt + completion).strip()
            found += [text, text.partition(".")[0]]
    return found
