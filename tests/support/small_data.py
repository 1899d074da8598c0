"""Small made-up files with the names and columns of the data sets that the scripts read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_TOPICS = ("tea", "rain", "maps", "bread", "trains", "birds", "chess", "soap", "glass", "wool")


def write_data(folder: Path, rows: int) -> Path:
    """Write hh_rlhf, ethics and gsm8k with this number of rows each."""
    for number, name in enumerate(("harmless", "helpful", "helpful_online", "helpful_rejection_sampled")):
        # The files have no prompt in common.
        _write(folder / "hh_rlhf" / f"{name}.jsonl.gz", [_talk(i + 1000 * number) for i in range(rows)])
    ethics = [
        {"chosen": f"I got {i} {_topic(i)}. It was good.", "rejected": f"I got {i} {_topic(i)}"}
        for i in range(rows)
    ]
    _write(folder / "ethics" / "utilitarianism.jsonl.gz", ethics)
    gsm8k = [
        {"question": f"{i} and {i}?", "answer": f"It is <<{i}+{i}={2 * i}>>{2 * i}.\n#### {2 * i}"}
        for i in range(rows)
    ]
    _write(folder / "gsm8k" / "train.jsonl.gz", gsm8k)
    return folder


def _talk(number: int) -> dict[str, str]:
    asked = f"\n\nHuman: {_topic(number)} {number}?\n\nAssistant:"
    good, bad = f" Yes, {_topic(number + 1)}.", f" No {_topic(number + 2)}!"
    return {"chosen": asked + good, "rejected": asked + bad}


def _topic(number: int) -> str:
    return _TOPICS[number % len(_TOPICS)]


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)


def moral_case(name: str, number: int, rules: Mapping[str, Any]) -> dict[str, str]:
    """A case in which every rule forbids one of the two actions."""
    labels = {
        f"a{side}_{rule}": "Yes" if (number + i + side) % 2 else "No"
        for i, rule in enumerate(rules)
        for side in (1, 2)
    }
    return {
        "scenario_id": f"{name}_{number}", "context": f"Case {name} {number}.", "action1": "I keep it.",
        "action2": "I give it back.", **labels,
    }  # fmt: skip


def names_in(folder: Path) -> set[str]:
    """Names of a folder's files."""
    return {path.name for path in folder.iterdir()}
