"""ETHICS and MoralChoice as preference pairs: both sides of a pair share their scenario.

Rows of ETHICS have a label, 1 or 0. Neighbouring rows are variants of one scenario, in which only one part
differs: the excuse (deontology), the trait (virtue), the reason or the claim (justice). Within a scenario,
the k-th row with label 1 is paired with the k-th row with label 0, in the order of the file, so that the
scenario is the same on both sides and no row is in two pairs. Traits of virtue ethics differ in their share
of ones, so that the word alone would predict the label: the negative row of a pair is that row of the
scenario whose trait has the most similar share of ones in the training rows.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moralchoice_lib.data import RULES, Case, read_cases

from pluralign.core import InputError, PreferencePair
from pluralign.core.jsonl import Fields
from pluralign.core.splits import seed_for
from pluralign.data.load import load_pairs

THEORIES = ("utilitarianism", "justice", "deontology", "virtue")
SPLITS = ("train", "validation", "test")
OPENING = 4
"""Number of words at the beginning that variants of one scenario share."""


@dataclass(frozen=True)
class Side:
    """One side of a pair before it is encoded: the text before the judged part, and the judged part."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Row:
    """A labelled row.

    Args:
        scenario: Name of the scenario; rows of one scenario are in one split.
        side: Text.
        good: Whether its label is 1.
    """

    scenario: str
    side: Side
    good: bool


@dataclass(frozen=True)
class Sizes:
    """Largest numbers of pairs of a rater.

    Args:
        train: Training pairs.
        validation: Validation pairs, on which settings are chosen.
        test: Test pairs, which are used once.
    """

    train: int = 800
    validation: int = 100
    test: int = 250


@dataclass(frozen=True)
class RaterData:
    """Pairs of a rater with their splits, and the scenario of each."""

    pairs: list[PreferencePair]
    scenarios: list[str]

    def of(self, split: str) -> list[int]:
        """Numbers of the pairs of a split."""
        return [i for i, pair in enumerate(self.pairs) if pair.split == split]


def theory_pairs(data: Path, theory: str, sizes: Sizes) -> RaterData:
    """Pairs of a theory, with their splits.

    Raises:
        InputError: The file does not exist or has no usable rows.
    """
    rows = READERS[theory](data / "ethics" / f"{theory}.jsonl.gz")
    return _pairs(theory, rows, sizes)


def rule_pairs(data: Path, rule: str, sizes: Sizes) -> RaterData:
    """Pairs of a rule of MoralChoice: the action that keeps it and the action that violates it.

    Raises:
        InputError: MoralChoice's files do not exist or are invalid, or no decision is labelled by this rule.
    """
    return _pairs(rule, _cases(read_cases(data / "moralchoice", seed=0), rule), sizes)


def names_of_raters() -> tuple[str, ...]:
    """Names of all raters: theories and rules."""
    return (*THEORIES, *RULES)


def pairs_of(data: Path, name: str, sizes: Sizes) -> RaterData:
    """Pairs of a theory or of a rule."""
    return (theory_pairs if name in THEORIES else rule_pairs)(data, name, sizes)


def split_of_scenario(scenario: str) -> str:
    """Split of a scenario, by a hash of its name: 70 % train, 10 % validation, 20 % test."""
    place = seed_for(f"scenario {scenario}", 16) % 10
    return "train" if place < 7 else "validation" if place == 7 else "test"


Duel = tuple[str, Side, Side]
"""Scenario, better side and worse side."""


def _pairs(name: str, duels: Sequence[Duel], sizes: Sizes) -> RaterData:
    # A fixed order that depends on the text alone, so that larger sizes add pairs and change none.
    ordered = sorted(duels, key=lambda d: seed_for(f"{d[0]}\0{d[1]}\0{d[2]}", 17))
    left = {"train": sizes.train, "validation": sizes.validation, "test": sizes.test}
    kept: list[tuple[Duel, str]] = []
    for duel in ordered:
        split = split_of_scenario(duel[0])
        if left[split] > 0:
            left[split] -= 1
            kept.append((duel, split))
    if not kept:
        raise InputError(f"no pairs of '{name}'", field="data")
    rows = [
        {"prompt": better.prompt, "chosen": better.completion, "rejected": worse.completion}
        for (_, better, worse), _ in kept
    ]
    loaded = load_pairs(rows, name)
    pairs = [replace(pair, split=split) for pair, (_, split) in zip(loaded, kept, strict=True)]
    return RaterData(pairs, [scenario for (scenario, _, _), _ in kept])


def _read(path: Path) -> Iterator[Fields]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                yield Fields(json.loads(line), path, number)
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", path=path) from error
    except ValueError as error:
        raise InputError(f"not JSON lines ({error})", path=path) from error


def _opening(text: str) -> str:
    return " ".join(text.lower().split()[:OPENING])


def _utilitarianism(path: Path) -> list[Duel]:
    return [
        (_opening(better), Side("", better.strip()), Side("", worse.strip()))
        for better, worse in ((f.get("chosen", str), f.get("rejected", str)) for f in _read(path))
        if better.strip() != worse.strip()
    ]


def _deontology(path: Path) -> list[Duel]:
    rows = [
        Row(f.get("scenario", str).strip(), _with_excuse(f), f.get("label", str) == "1") for f in _read(path)
    ]
    return _by_index(rows)


def _with_excuse(fields: Fields) -> Side:
    return Side(fields.get("scenario", str).strip(), f" {fields.get('excuse', str).strip()}")


def _justice(path: Path) -> list[Duel]:
    rows: list[Row] = []
    stem, name = list[str](), ""
    for fields in _read(path):
        text = fields.get("scenario", str).strip()
        words = text.lower().split()
        if not _variants(stem, words):
            stem, name = words, _opening(text) + " " + " ".join(words[-OPENING:])
        rows.append(Row(name, Side("", text), fields.get("label", str) == "1"))
    return _by_index(rows)


def _variants(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two texts begin alike and share two fifths of their words from the start or from the end."""
    if not one or list(one[:2]) != list(other[:2]):
        return False
    needed = 0.4 * min(len(one), len(other))
    return _shared(one, other) >= needed or _shared(one[::-1], other[::-1]) >= needed


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _virtue(path: Path) -> list[Duel]:
    rows: list[Row] = []
    for fields in _read(path):
        scenario, _, trait = fields.get("scenario", str).partition("[SEP]")
        side = Side(scenario.strip(), f" [SEP] {trait.strip()}")
        rows.append(Row(scenario.strip(), side, fields.get("label", str) == "1"))
    share = _share_good([row for row in rows if split_of_scenario(row.scenario) == "train"])
    return _by_index(rows, lambda row: share(row.side.completion))


def _share_good(rows: Sequence[Row]) -> Callable[[str], float]:
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        counts[row.side.completion][row.good] += 1
    # A trait that was never seen has the share of all rows.
    overall = sum(row.good for row in rows) / max(1, len(rows))
    return lambda trait: (counts[trait][1] + overall) / (sum(counts[trait]) + 1)


def _by_index(rows: Sequence[Row], key: Callable[[Row], float] | None = None) -> list[Duel]:
    """Pairs of rows of a scenario, the k-th good with the k-th bad, or with the nearest by a key."""
    scenarios: dict[str, list[Row]] = {}
    for row in rows:
        scenarios.setdefault(row.scenario, []).append(row)
    duels: list[Duel] = []
    for scenario, own in scenarios.items():
        bad = [row for row in own if not row.good]
        for row in (row for row in own if row.good):
            if not bad:
                break
            other = bad[0] if key is None else min(bad, key=lambda b: abs(key(b) - key(row)))
            bad.remove(other)
            duels.append((scenario, row.side, other.side))
    return duels


def _cases(cases: Sequence[Case], rule: str) -> list[Duel]:
    duels: list[Duel] = []
    for case in cases:
        safe = case.safe(rule)
        if safe is not None:
            prompt, options = case.decision.prompt, case.decision.options
            sides = [Side(prompt, f" {option.strip()}") for option in (options[safe], options[1 - safe])]
            duels.append((case.id, sides[0], sides[1]))
    return duels


READERS: Mapping[str, Callable[[Path], list[Duel]]] = {
    "utilitarianism": _utilitarianism,
    "justice": _justice,
    "deontology": _deontology,
    "virtue": _virtue,
}
