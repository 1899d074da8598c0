"""Who sees which rows: policies, reward models, the test. No conversation is in two of them."""

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
"""The first file gives the policies' pairs and the test; what is left of it, and the others, the rewards'."""
SHARES = (0.42, 0.05, 0.53)
"""Of the conversations, in the order of `PARTS`."""
PARTS = {"train": "policies", "validation": "test", "test": "rewards"}
"""Which part has which of the splits that a hash gives."""
SHORT, LONGEST = 700, 1000
"""Characters of a prompt and of an answer, of the policies and the test, and of the rewards: longer rows are
left out, as two cores have little time."""


@dataclass(frozen=True)
class Sizes:
    """How much is used.

    Args:
        pairs: of each policy, at most, a tenth of them to measure it.
        reward_pairs: of each reward model, at most, a fifth of them to measure it.
        tests: test prompts, half of them of each objective.
        value_prompts: of the policies' pairs, to which the base model writes for the value models.
        value_samples: answers to each of these.
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
        policies: pairs by objective.
        blended: pairs of both objectives, half and half, as many as of one.
        rewards: pairs by objective.
        test: prompts.
    """

    policies: dict[str, list[PreferencePair]]
    blended: list[PreferencePair]
    rewards: dict[str, list[PreferencePair]]
    test: list[str]


def read(folder: Path, seed: int, sizes: Sizes) -> Parts:
    """Read the data sets and part them.

    Args:
        folder: holds ``hh_rlhf``.
        seed: another seed, other parts.
        sizes: how much is used.
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
    """Every so many-th pair validates."""
    return [replace(p, split="train" if i % share else "validation") for i, p in enumerate(pairs)]


def _apart(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """One pair of each conversation, so that whatever is held out is of conversations not learned from."""
    return list({_conversation(pair): pair for pair in pairs}.values())


def _shuffled(pairs: Sequence[PreferencePair], seed: int) -> list[PreferencePair]:
    return sorted(pairs, key=lambda pair: seed_for(f"order {_prompt(pair)} {pair.chosen}", seed))


def _prompt(pair: PreferencePair) -> str:
    return pair.chosen.steps[0].decision.prompt


def _conversation(pair: PreferencePair) -> str:
    """Its first message: longer prompts of one conversation begin alike."""
    return _prompt(pair).strip().split("\n\nAssistant:")[0]


def _longest(pair: PreferencePair) -> int:
    return max(len(_prompt(pair)), *map(len, pair.chosen.steps[0].decision.options))
