"""Division of the rows into golden reward, demonstrations, preferences and test; no prompt is in two of
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pluralign.core import Decision, Demonstration, PreferencePair, Segment, Step
from pluralign.core.splits import seed_for, split_of
from pluralign.data.load import load_pairs

FILES = {
    "harmless": ("harmless",),
    "helpful": ("helpful", "helpful_online", "helpful_rejection_sampled"),
}
"""The first file provides demonstrations, preferences and test; its other prompts, and all other files,
provide the golden reward's pairs."""
SHARES = {"harmless": (0.35, 0.2), "helpful": (0.9, 0.3)}
"""Share of the first file's prompts that the methods may see, and the share of preferences among these."""
GOLDEN = 3000
"""Largest number of pairs of the golden reward; a fifth of them is for validation."""
LONGEST_PROMPT = 1000
"""Largest number of characters; longer conversations are left out, to limit the time on two cores."""


@dataclass(frozen=True)
class Parts:
    """Rows of one data set and one seed.

    Args:
        golden: Pairs of the golden reward; its ``validation`` split measures it.
        demonstrations: Chosen answers; the rest of their rows is not used.
        preferences: Pairs for methods that use preferences.
        test: Prompts with their chosen answers.
    """

    golden: list[PreferencePair]
    demonstrations: list[Demonstration]
    preferences: list[PreferencePair]
    test: list[Demonstration]


def read(folder: Path, task: str, seed: int, *, test: int, tokenizer: object, tokens: int) -> Parts:
    """Read a data set and divide it.

    Args:
        folder: Folder that contains ``hh_rlhf``.
        task: ``harmless`` or ``helpful``.
        seed: Random seed of the division.
        test: Number of test prompts.
        tokenizer: Tokenizer for truncation.
        tokens: Number of tokens at which completions are truncated, like samples. The golden reward is
            trained on whole completions, because truncated ones are hardly informative (docs/papers.md).
    """
    pairs = [
        pair
        for name in FILES[task]
        for pair in load_pairs(folder / "hh_rlhf" / f"{name}.jsonl.gz", task, seed=seed)
        if len(_prompt(pair)) <= LONGEST_PROMPT
    ]
    own = [pair for pair in pairs if pair.rater.startswith(f"{task}.")]
    seen, of_preferences = SHARES[task]
    where = {_prompt(pair): _part(_prompt(pair), seed, seen, of_preferences) for pair in own}
    parts: dict[str, list[PreferencePair]] = {
        "golden": [],
        "demonstrations": [],
        "preferences": [],
        "test": [],
    }
    for pair in pairs:
        parts[where.get(_prompt(pair), "golden")].append(pair)
    golden = sorted(parts["golden"], key=lambda pair: seed_for(f"golden {_prompt(pair)}", seed))
    unique = {_prompt(pair): pair for pair in parts["test"]}
    tested = sorted(unique, key=lambda prompt: seed_for(prompt, seed + 1))[:test]
    return Parts(
        [replace(pair, split="validation" if _share(pair, 5) else "train") for pair in golden[:GOLDEN]],
        _demonstrations(parts["demonstrations"]),
        [replace(pair, split="train") for pair in parts["preferences"]],
        [
            replace(row, completion=cut(row.completion, tokenizer, tokens))
            for row in _demonstrations([unique[prompt] for prompt in tested])
        ],
    )


def cut(text: str, tokenizer: object, tokens: int) -> str:
    """The first ``tokens`` tokens of a completion, truncated like samples."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # pyright: ignore
    return text if len(ids) <= tokens else str(tokenizer.decode(ids[:tokens]))  # pyright: ignore


def cut_pair(pair: PreferencePair, tokenizer: object, tokens: int) -> PreferencePair | None:
    """The pair with both completions truncated; None if they are then equal."""
    decision = pair.chosen.steps[0].decision
    options = tuple(cut(option, tokenizer, tokens) for option in decision.options)
    if len(set(options)) < 2:
        return None
    shorter = Decision(decision.prompt, options)
    segments = [
        Segment(segment.trajectory_id, segment.start, (Step(shorter, segment.steps[0].action),))
        for segment in (pair.chosen, pair.rejected)
    ]
    return replace(pair, chosen=segments[0], rejected=segments[1])


def _demonstrations(pairs: Sequence[PreferencePair]) -> list[Demonstration]:
    found: dict[str, Demonstration] = {}
    for pair in pairs:
        row = Demonstration(*pair.chosen.text(), pair.objective, "chosen")
        found.setdefault(row.prompt, row)
    return list(found.values())


def _prompt(pair: PreferencePair) -> str:
    return pair.chosen.text()[0]


def _part(prompt: str, seed: int, seen: float, of_preferences: float) -> str:
    if split_of(f"golden {prompt}", seed=seed, shares=(seen, 1 - seen, 0.0)) != "train":
        return "golden"
    where = split_of(f"part {prompt}", seed=seed, shares=(0.85 - of_preferences, of_preferences, 0.15))
    return {"train": "demonstrations", "validation": "preferences", "test": "test"}[where]


def _share(pair: PreferencePair, parts: int) -> bool:
    return seed_for(f"validation {_prompt(pair)}") % parts == 0
