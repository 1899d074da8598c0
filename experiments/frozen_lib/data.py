"""Short pairs of HH-RLHF and their division; no conversation is in two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from console import say

from pluralign.core import Decision, PreferencePair
from pluralign.core.arrays import FloatArray
from pluralign.core.splits import seed_for
from pluralign.data.load import load_pairs
from pluralign.lm.backbone import load_backbone
from pluralign.options.features import FeatureStore

FILES = {
    "helpful": ("helpful", "helpful_online", "helpful_rejection_sampled"),
    "harmless": ("harmless",),
}
"""Files of each objective. Rows of the first one are divided; the others are for reward models only."""
PARTS = {"rewards": 0.4, "train": 0.3, "validation": 0.1, "test": 0.2}
"""Shares of the conversations of the divided files."""
_CHUNK, _SAID = 16, 400


@dataclass(frozen=True)
class Limits:
    """Limits on the rows that are used, so that features take minutes.

    Args:
        prompt: Largest number of characters of a prompt.
        answer: Largest number of characters of an answer.
        more: Largest number of pairs of each objective from the files for reward models only.
        prompts: Number of prompts of each objective for which samples are drawn. Their conversations are in
            no other part.
    """

    prompt: int = 500
    answer: int = 400
    more: int = 250
    prompts: int = 30


@dataclass(frozen=True)
class Pairs:
    """The rows that are used.

    Args:
        divided: Pairs by objective, to be divided.
        more: Further pairs by objective, for reward models.
        prompts: Prompts for drawing, by objective.
    """

    divided: Mapping[str, Sequence[PreferencePair]]
    more: Mapping[str, Sequence[PreferencePair]]
    prompts: Mapping[str, Sequence[str]]


def read_pairs(folder: Path, limits: Limits) -> Pairs:
    """Short pairs of the files in ``hh_rlhf`` below this folder.

    Raises:
        InputError: A file is missing or invalid.
    """
    read = {
        objective: [
            [
                pair
                for pair in load_pairs(folder / "hh_rlhf" / f"{name}.jsonl.gz", objective)
                if len(prompt_of(pair)) <= limits.prompt and max(map(len, options_of(pair))) <= limits.answer
            ]
            for name in names
        ]
        for objective, names in FILES.items()
    }
    prompts: dict[str, list[str]] = {}
    for objective, (first, *_) in read.items():
        distinct = sorted({prompt_of(pair) for pair in first}, key=lambda text: seed_for(f"draw {text}"))
        prompts[objective] = distinct[: limits.prompts]
    drawn = {conversation_of(prompt) for own in prompts.values() for prompt in own}

    def kept(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
        return [pair for pair in pairs if conversation_of(prompt_of(pair)) not in drawn]

    return Pairs(
        {objective: kept(first) for objective, (first, *_) in read.items()},
        {
            objective: sorted(
                kept([pair for own in more for pair in own]),
                key=lambda pair: seed_for(f"more {prompt_of(pair)}"),
            )[: limits.more]
            for objective, (_, *more) in read.items()
        },
        prompts,
    )


def part_of(pair: PreferencePair, seed: int) -> str:
    """Part of a pair, by a hash of its conversation and the seed."""
    place = seed_for(f"part {conversation_of(prompt_of(pair))}", seed) % 1000 / 1000
    ends = np.cumsum(list(PARTS.values()))
    return list(PARTS)[int(np.searchsorted(ends[:-1], place, side="right"))]


def prompt_of(pair: PreferencePair) -> str:
    """The prompt of a pair."""
    return pair.chosen.steps[0].decision.prompt


def options_of(pair: PreferencePair) -> tuple[str, ...]:
    """Both answers of a pair."""
    return pair.chosen.steps[0].decision.options


def conversation_of(prompt: str) -> str:
    """The first message of a conversation, which its longer prompts share."""
    return prompt.strip().split("\n\nAssistant:")[0]


class Features:
    """Frozen features of answers (of four fifths of the depth: last state and mean), computed once.

    Args:
        model: Frozen model.
        folder: Folder in which features are kept.
    """

    def __init__(self, model: str, folder: Path) -> None:
        self.backbone = load_backbone(model)
        self.store = FeatureStore(self.backbone, folder)

    def of_pairs(self, pairs: Sequence[PreferencePair]) -> FloatArray:
        """Features of chosen and rejected answers, shape (pairs, 2, d)."""
        found = self.of_decisions([pair.chosen.steps[0].decision for pair in pairs])
        chosen = [pair.chosen.steps[0].action for pair in pairs]
        return np.stack([own[[place, 1 - place]] for own, place in zip(found, chosen, strict=True)])

    def of_decisions(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """Features of the options of each decision, shape (options, d)."""
        known = len(self.store)
        for start in range(0, len(decisions), _CHUNK):
            self.store.get(decisions[start : start + _CHUNK])
            if len(self.store) >= known + _SAID:
                known = len(self.store)
                say(f"  features of {start} of {len(decisions)} decisions")
        self.store.flush()
        return [own.features.astype(np.float64) for own in self.store.get(decisions)]
