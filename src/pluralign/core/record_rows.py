"""Encoding of records as JSON lines, and decoding; decisions are on separate lines."""

from __future__ import annotations

from collections.abc import Callable

from pluralign.core.errors import InputError
from pluralign.core.jsonl import Fields, Row, is_finite
from pluralign.core.preference import Annotation, Comparison, PreferencePair
from pluralign.core.trajectory import Decision, Segment, Step, Trajectory

Record = Trajectory | Annotation | PreferencePair
Decisions = dict[int, Decision]
"""Decisions by the numbers under which records refer to them."""


def encode(record: Record, number: Callable[[Decision], int]) -> Row:
    """Encode a record as a line that refers to decisions by number.

    Raises:
        InputError: A reward or a count is not finite, which files cannot have.
    """

    def segment(s: Segment) -> Row:
        return {
            "trajectory": s.trajectory_id,
            "start": s.start,
            "decisions": [number(step.decision) for step in s.steps],
            "actions": [step.action for step in s.steps],
        }

    match record:
        case Trajectory():
            row = _columns(record, "id", "source", "policy", "seed", "terminated", "truncated")
            for place, step in enumerate(record.steps, start=1):
                _require_finite(step, f"step {place} of {record.id}")
            row["steps"] = [_step_row(step, number(step.decision)) for step in record.steps]
        case Annotation():
            row = _columns(record, "objective", "rater", "preference")
            row |= {"first": segment(record.comparison.first), "second": segment(record.comparison.second)}
        case PreferencePair():
            row = _columns(record, "objective", "rater", "split", "weight")
            row |= {"margin": record.margin} if record.margin else {}
            return {**row, "chosen": segment(record.chosen), "rejected": segment(record.rejected)}
    return {**row, "info": dict(record.info)} if record.info else row


def _columns(record: Record, *names: str) -> Row:
    return {name: getattr(record, name) for name in names}


def _require_finite(step: Step, where: str) -> None:
    for field, numbers in (("rewards", step.rewards), ("counts", step.counts)):
        for name, value in numbers.items():
            if not is_finite(value):
                raise InputError(
                    f"expected a finite number in {where}, found {value!r:.60}", field=f"{field}.{name}"
                )


def _step_row(step: Step, number: int) -> Row:
    row: Row = {"at": number, "action": step.action}
    for name, value in (("rewards", step.rewards), ("counts", step.counts), ("info", step.info)):
        if value:
            row[name] = dict(value)
    if step.outcome:
        row["outcome"] = step.outcome
    return row


def read_trajectory(fields: Fields, decisions: Decisions) -> Trajectory:
    """Decode a trajectory from the fields of its line."""
    steps = tuple(
        _step(Fields(row, fields.path, fields.number), decisions) for row in fields.get("steps", list)
    )
    return Trajectory(
        id=fields.get("id", str),
        source=fields.get("source", str),
        policy=fields.get("policy", str),
        seed=fields.get("seed", int),
        steps=steps,
        terminated=fields.get("terminated", bool),
        truncated=fields.get("truncated", bool, False),
        info=fields.get("info", dict, {}),
    )


def _step(fields: Fields, decisions: Decisions) -> Step:
    return Step(
        decision=_decision(fields, fields.get("at", int), decisions),
        action=fields.get("action", int),
        rewards=fields.numbers("rewards"),
        counts=fields.numbers("counts"),
        outcome=fields.get("outcome", str, ""),
        info=fields.get("info", dict, {}),
    )


def _decision(fields: Fields, number: int, decisions: Decisions) -> Decision:
    if number not in decisions:
        raise fields.fail("at", f"refers to decision {number}, which is not on an earlier line")
    return decisions[number]


def _segment(fields: Fields, name: str, decisions: Decisions) -> Segment:
    inner = Fields(fields.get(name, dict), fields.path, fields.number)
    numbers, actions = inner.ints("decisions"), inner.ints("actions")
    if len(numbers) != len(actions) or not numbers:
        raise fields.fail(name, f"has {len(numbers)} decisions and {len(actions)} actions")
    steps = tuple(
        Step(_decision(inner, number, decisions), action)
        for number, action in zip(numbers, actions, strict=True)
    )
    return Segment(inner.get("trajectory", str), inner.get("start", int), steps)


def read_annotation(fields: Fields, decisions: Decisions) -> Annotation:
    """Decode an annotation from the fields of its line."""
    return Annotation(
        comparison=Comparison(_segment(fields, "first", decisions), _segment(fields, "second", decisions)),
        objective=fields.get("objective", str),
        rater=fields.get("rater", str),
        preference=fields.get("preference", str),
        info=fields.get("info", dict, {}),
    )


def read_pair(fields: Fields, decisions: Decisions) -> PreferencePair:
    """Decode a preference pair from the fields of its line."""
    split = fields.get("split", str, "train")
    if split not in ("train", "validation", "test"):
        raise fields.fail("split", f"expected train, validation or test, found {split!r}")
    return PreferencePair(
        chosen=_segment(fields, "chosen", decisions),
        rejected=_segment(fields, "rejected", decisions),
        objective=fields.get("objective", str),
        rater=fields.get("rater", str, ""),
        weight=fields.finite("weight", 1.0),
        margin=fields.finite("margin", 0.0),
        split=split,
    )
