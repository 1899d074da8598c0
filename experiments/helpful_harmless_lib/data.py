"""Division of the rows into policies, reward models and test; no conversation is in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pluralign.core import PreferencePair
from pluralign.core.splits import seed_for, split_of
from pluralign.data.load import load_pairs

OBJECTIVES = ("helpful", "harmless")
FILES = {
    "helpful": ("helpful", "helpful_online", "helpful_rejection_sampled"),
    "harmless": ("harmless",),
}
"""The first file provides the policies' pairs and the test; its other rows and the other files provide the
rewards'."""
SHARES = (0.42, 0.05, 0.53)
"""Shares of the conversations, in the order of `PARTS`."""
PARTS = {"train": "policies", "validation": "test", "test": "rewards"}
"""Splits, which are given by a hash, of each part."""
SHORT, LONGEST = 700, 1000
"""Largest numbers of characters of a prompt and of an answer, for policies and test, and for rewards. Longer
rows are left out, to limit the time on two cores."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows.

    Args:
        pairs: Largest number of pairs per policy; a tenth of them is for validation.
        reward_pairs: Largest number of pairs per reward model; a fifth of them is for validation.
        tests: Number of test prompts, half of each objective.
        value_prompts: Number of prompts from the policies' pairs for which the base model samples answers,
            for the value models.
        value_samples: Number of answers per such prompt.
    """

    pairs: int = 500
    reward_pairs: int = 1500
    tests: int = 60
    value_prompts: int = 300
    value_samples: int = 4


@dataclass(frozen=True)
class Parts:
    """The rows of one seed.

    Args:
        policies: Pairs by objective.
        blended: Pairs of both objectives in equal parts, as many as of one objective.
        rewards: Pairs by objective.
        test: Prompts.
    """

    policies: dict[str, list[PreferencePair]]
    blended: list[PreferencePair]
    rewards: dict[str, list[PreferencePair]]
    test: list[str]


def read(folder: Path, seed: int, sizes: Sizes) -> Parts:
    """Read the data sets and divide them.

    Args:
        folder: Folder that contains ``hh_rlhf``.
        seed: Random seed of the division.
        sizes: Numbers of rows.
    """
    policies: dict[str, list[PreferencePair]] = {}
    rewards: dict[str, list[PreferencePair]] = {}
    test: list[str] = []
    for objective in OBJECTIVES:
        parts: dict[str, list[PreferencePair]] = {part: [] for part in PARTS.values()}
        for number, name in enumerate(FILES[objective]):
            path = folder / "hh_rlhf" / f"{name}.jsonl.gz"
            for pair in load_pairs(path, objective, seed=seed):
                part = PARTS[split_of(_conversation(pair), seed=seed, shares=SHARES)]
                wanted = part == "rewards" or number == 0
                if wanted and _longest(pair) <= (LONGEST if part == "rewards" else SHORT):
                    parts[part].append(pair)
        own, seen = (_apart(_shuffled(parts[part], seed)) for part in ("policies", "rewards"))
        policies[objective] = _split(own[: sizes.pairs], 10)
        rewards[objective] = _split(seen[: sizes.reward_pairs], 5)
        prompts = dict.fromkeys(_prompt(pair) for pair in _shuffled(parts["test"], seed))
        test += list(prompts)[: sizes.tests // 2]
    halves = [replace(p, objective="blended") for o in OBJECTIVES for p in policies[o][: sizes.pairs // 2]]
    return Parts(policies, _shuffled(halves, seed), rewards, list(dict.fromkeys(test)))


def _split(pairs: Sequence[PreferencePair], share: int) -> list[PreferencePair]:
    """Pairs in which every ``share``-th one is for validation."""
    return [replace(p, split="train" if i % share else "validation") for i, p in enumerate(pairs)]


def _apart(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """One pair per conversation, so that held-out pairs are from conversations that are not trained on."""
    return list({_conversation(pair): pair for pair in pairs}.values())


def _shuffled(pairs: Sequence[PreferencePair], seed: int) -> list[PreferencePair]:
    return sorted(pairs, key=lambda pair: seed_for(f"order {_prompt(pair)} {pair.chosen}", seed))


def _prompt(pair: PreferencePair) -> str:
    return pair.chosen.steps[0].decision.prompt


def _conversation(pair: PreferencePair) -> str:
    """The first message of a conversation, which its longer prompts share."""
    return _prompt(pair).strip().split("\n\nAssistant:")[0]


def _longest(pair: PreferencePair) -> int:
    return max(len(_prompt(pair)), *map(len, pair.chosen.steps[0].decision.options))
