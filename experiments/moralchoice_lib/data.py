"""MoralChoice as cases, trajectories and labels."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pluralign.core import (
    Decision,
    InputError,
    Objective,
    Step,
    Trajectory,
)
from pluralign.core.jsonl import Fields
from pluralign.core.splits import seed_for

AMBIGUITIES = ("low", "high")


RULES = {
    "death": "kills nobody",
    "pain": "causes nobody pain, bodily or mental",
    "disable": "disables nobody, in body or mind",
    "freedom": "deprives nobody of freedom",
    "pleasure": "deprives nobody of pleasure",
    "deceive": "deceives nobody",
    "cheat": "does not cheat",
    "break_promise": "breaks no promise",
    "break_law": "breaks no law",
    "duty": "does what duty asks",
}


OBJECTIVES = {
    rule: Objective(rule, f"The act {text}.", {f"rule.{rule}": -1.0}) for rule, text in RULES.items()
}


VALUES = {"Yes": 1.0, "No": 0.0, "No Agreement": None}
"""Label of an action for a rule; None where MoralChoice's annotators did not agree."""


Flags = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Case:
    """One decision of MoralChoice.

    Args:
        id: Id of the scenario.
        ambiguity: Low or high.
        decision: Context, and the two actions in an order drawn from the seed and the id.
        flags: Whether each option violates a rule, by rule (1 or 0, None without agreement).
        first: Index of the file's action1 among the options.
    """

    id: str
    ambiguity: str
    decision: Decision
    flags: Flags
    first: int

    def known(self, rule: str) -> bool:
        """Whether both options have a label."""
        return None not in self.flags[rule]

    def safe(self, rule: str) -> int | None:
        """Index of the option that does not violate the rule if the other does; None if there is none."""
        labels = self.flags[rule]
        return labels.index(0.0) if self.known(rule) and labels[0] != labels[1] else None


def read_cases(folder: Path, seed: int) -> list[Case]:
    """MoralChoice's decisions, each with its two actions in an order drawn from the seed.

    Raises:
        InputError: The folder or a file is missing or invalid, or two decisions have the same context or id.
    """
    if not folder.is_dir():
        raise InputError(
            "no such folder; MoralChoice's low_ambiguity.jsonl.gz and high_ambiguity.jsonl.gz are expected",
            path=folder,
        )
    cases = [
        _case(f, ambiguity, seed)
        for ambiguity in AMBIGUITIES
        for f in _rows(folder, f"{ambiguity}_ambiguity")
    ]
    for field, values in (
        ("scenario_id", [c.id for c in cases]),
        ("context", [c.decision.prompt for c in cases]),
    ):
        repeated = [value for value, times in Counter(values).items() if times > 1]
        if repeated:
            raise InputError(
                f"two decisions have the same one: {repeated[0]!r:.60}", path=folder, field=field
            )
    return cases


def _rows(folder: Path, name: str) -> Iterator[Fields]:
    path = folder / f"{name}.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                yield Fields(json.loads(line), path, number)
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", path=path) from error
    except ValueError as error:
        raise InputError(f"not JSON lines ({error})", path=path) from error


def _case(fields: Fields, ambiguity: str, seed: int) -> Case:
    name = fields.get("scenario_id", str)
    order = (1, 2) if seed_for(f"position of {name}", seed) % 2 else (2, 1)
    decision = Decision(fields.get("context", str), tuple(fields.get(f"action{k}", str) for k in order))
    flags: dict[str, tuple[float | None, float | None]] = {}
    for rule in RULES:
        labels = [fields.get(f"a{k}_{rule}", str) for k in order]
        for k, label in zip(order, labels, strict=True):
            if label not in VALUES:
                raise fields.fail(f"a{k}_{rule}", f"expected one of {', '.join(VALUES)}, found {label!r}")
        flags[rule] = (VALUES[labels[0]], VALUES[labels[1]])
    return Case(name, ambiguity, decision, flags, order.index(1))


def make_trajectories(cases: Sequence[Case]) -> list[Trajectory]:
    """Two episodes of one step per decision, one per action; counts are the violated rules."""
    return [
        Trajectory(
            f"{case.id}-{option}",
            "moralchoice",
            "listed",
            0,
            (Step(case.decision, option, counts=_counts(case, option)),),
            terminated=True,
        )
        for case in cases
        for option in (0, 1)
    ]


def _counts(case: Case, option: int) -> dict[str, float]:
    return {f"rule.{rule}": 1.0 for rule, labels in case.flags.items() if labels[option] == 1.0}


def exchange(case: Case) -> Case:
    """The same decision with its options in the other order."""
    first, second = case.decision.options
    flags = {rule: (b, a) for rule, (a, b) in case.flags.items()}
    return Case(
        case.id, case.ambiguity, Decision(case.decision.prompt, (second, first)), flags, 1 - case.first
    )


def conflicts(cases: Sequence[Case], one: str, other: str) -> list[int]:
    """Decisions in which one option violates only the first rule and the other only the second."""
    return [
        i
        for i, case in enumerate(cases)
        if (a := case.safe(one)) is not None and (b := case.safe(other)) is not None and a != b
    ]


def most_conflicting(cases: Sequence[Case]) -> tuple[tuple[str, str], dict[str, int]]:
    """The pair of rules with the most conflicts, and the number of conflicts of each pair."""
    rules = list(RULES)
    counts = {(a, b): len(conflicts(cases, a, b)) for i, a in enumerate(rules) for b in rules[i + 1 :]}
    return max(counts, key=lambda p: counts[p]), {f"{a}|{b}": n for (a, b), n in counts.items()}


def label_counts(cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    """For each rule, the numbers of decisions that one action violates, of ties, and of those without
    agreement."""
    kinds = {(0.0, 0.0): "neither", (1.0, 1.0): "both", (0.0, 1.0): "one", (1.0, 0.0): "one"}
    return {rule: dict(Counter(kinds.get(c.flags[rule], "no_agreement") for c in cases)) for rule in RULES}
