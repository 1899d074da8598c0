"""What the verbs on texts share: preference data of our own and of other people's making."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pluralign.cli.common import say
from pluralign.core import Demonstration, InputError, PreferencePair
from pluralign.core.jsonl import read_rows
from pluralign.core.messages import Render
from pluralign.core.records import read_pairs
from pluralign.core.splits import SPLITS, Split
from pluralign.data import load_demonstrations, load_preference_pairs
from pluralign.data.preferences import read_dataset

Part = Literal["train", "validation", "test", "all"]


def read_texts(data: str, objective: str, render: Render, seed: int = 0) -> list[PreferencePair]:
    """Preference pairs of texts: ``pairs.jsonl``, or whatever has TRL's columns (file, folder, hub id).

    What was left out, and why, is told.

    Raises:
        InputError: see `load_preference_pairs`.
    """
    if _is_ours(Path(data)):
        pairs = read_pairs(data)
        if objective and any(pair.objective != objective for pair in pairs):
            raise InputError(f"holds pairs of other objectives than {objective!r}", path=data)
        return pairs
    found = load_preference_pairs(
        data, objective or objective_of(data), seed=seed, render=render, two_prompts=True
    )
    counts = found.counts
    left_out = {name: counts[name] for name in ("empty", "identical") if counts[name]}
    told = f"{counts['rows']} rows of {data}: {counts['pairs']} pairs"
    if left_out:
        told += "; left out: " + ", ".join(f"{count} {name}" for name, count in left_out.items())
    if counts["prompts_differ"]:
        told += f"; {counts['prompts_differ']} with two prompts"
    say(told + " (" + ", ".join(f"{counts[f'pairs_{name}']} {name}" for name in SPLITS) + ")")
    return list(found.pairs)


def read_demonstrations(data: str, objective: str, render: Render, seed: int = 0) -> list[Demonstration]:
    """Completions that are offered as good: whatever `load_demonstrations` takes; told what was left out.

    Raises:
        InputError: see `load_demonstrations`.
    """
    found = load_demonstrations(data, objective or objective_of(data), seed=seed, render=render)
    counts = found.counts
    told = f"{counts['rows']} rows of {data}: {counts['demonstrations']} demonstrations"
    left_out = [f"{counts[name]} {name}" for name in ("empty", "unusable") if counts[name]]
    if left_out:
        told += "; left out: " + ", ".join(left_out)
    say(told + " (" + ", ".join(f"{counts[f'demonstrations_{name}']} {name}" for name in SPLITS) + ")")
    return list(found.rows)


def holds_preferences(data: str) -> bool:
    """Whether rows have a chosen completion: then a rejected one measures what demonstrations taught.

    Raises:
        InputError: the data cannot be read.
    """
    if _is_ours(Path(data)):
        return True
    first = next((row for part in read_dataset(data).values() for row in part), {})
    return first.get("chosen") is not None and first.get("completion") is None


def objective_of(data: str) -> str:
    """What preferences are about, where nobody says: the name of their file or data set."""
    return Path(data.rstrip("/")).name.split(".")[0]


def of_part(pairs: Sequence[PreferencePair], part: Part, data: str) -> list[PreferencePair]:
    """The pairs of one split, or all.

    Raises:
        InputError: there are none.
    """
    known: dict[str, Split] = {name: name for name in SPLITS}
    chosen = [pair for pair in pairs if part == "all" or pair.split == known[part]]
    if not chosen:
        raise InputError(f"holds no pair of the split {part}", path=data)
    return chosen


def _is_ours(path: Path) -> bool:
    if not path.is_file() or not path.name.endswith(".jsonl"):
        return False
    try:
        return next(iter(read_rows(path))).row.get("pluralign") == "pairs"
    except (InputError, StopIteration):
        return False
