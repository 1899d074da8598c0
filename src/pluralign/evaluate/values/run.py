"""Audits of several models in turn: weightings of a mixture, or checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.evaluate.values.answers import Answers, consistency, split_answered
from pluralign.evaluate.values.audit import AuditConfig, ValueAudit, audit_values
from pluralign.evaluate.values.choosers import Asked, Replies
from pluralign.evaluate.values.drift import TopicDrift, stance_drift
from pluralign.evaluate.values.outcomes import Lottery, Outcome, Process
from pluralign.evaluate.values.report import AuditPoint
from pluralign.evaluate.values.stances import StanceQuestion, read_stances


@dataclass(frozen=True, eq=False)
class Subject:
    """Something to audit.

    Args:
        label: Name in tables, and of its folder.
        who: Function that opens what is asked about outcomes; called when it is its turn.
        replies: Function that opens the model that is asked about stances; None if there is none.
        position: Position on the axis; None for a single audit.
        weights: Weights of the mixture, if it is one.
    """

    label: str
    who: Callable[[], Asked]
    replies: Callable[[], Replies] | None = None
    position: float | None = None
    weights: SteeringWeights | None = None


@dataclass(frozen=True)
class Material:
    """What is asked.

    Args:
        outcomes: Outcomes; none for stances only.
        lotteries: Lotteries that an outcome implies.
        processes: Markov processes.
        stances: Questions about stances.
    """

    outcomes: Sequence[Outcome] = ()
    lotteries: Sequence[Lottery] = ()
    processes: Sequence[Process] = ()
    stances: Sequence[StanceQuestion] = ()


def checkpoint_positions(folders: Sequence[Path]) -> list[float]:
    """Steps of checkpoints: the numbers at the end of their names if all have one, else 0, 1, 2, ...

    Raises:
        InputError: The numbers do not ascend.
    """
    found = [re.search(r"(\d+)$", folder.name) for folder in folders]
    steps = [float(one[1]) for one in found if one is not None]
    if len(steps) < len(folders):
        return [float(number) for number in range(len(folders))]
    if sorted(set(steps)) != steps:
        raise InputError(
            f"must be in the order of their steps, found {', '.join(f'{step:g}' for step in steps)}",
            field="checkpoints",
        )
    return steps


def audit_all(
    subjects: Sequence[Subject],
    material: Material,
    config: AuditConfig,
    folder: Path,
    done: Callable[[AuditPoint], None],
) -> tuple[list[AuditPoint], list[TopicDrift]]:
    """Audit one after the other; an interrupted run continues.

    Args:
        subjects: What to audit.
        material: What is asked.
        config: Settings.
        folder: Folder for the answers.
        done: Function that is called after each audit.

    Returns:
        Audits in the order of the subjects, and the stances by topic with their drift, if they were asked
        for along an axis, or of a single subject.
    """
    points: list[AuditPoint] = []
    support: list[Answers] = []
    for subject in subjects:
        own = folder / "answers" / re.sub(r"[^\w.=,-]+", "_", subject.label)
        audit: ValueAudit | None = None
        if material.outcomes:
            audit = audit_values(
                subject.who(),
                material.outcomes,
                lotteries=material.lotteries,
                processes=material.processes,
                config=config,
                out=own,
            )
        orders = None
        if material.stances:
            if subject.replies is None:
                raise InputError("only models are asked about stances", field="stances")
            answers = read_stances(subject.replies(), material.stances, own / "stances.jsonl")
            support.append(answers)
            orders = consistency(*split_answered(answers), order_free=False)
        points.append(AuditPoint(subject.label, subject.position, audit, orders, subject.weights))
        done(points[-1])
    topics: list[TopicDrift] = []
    positions = [subject.position for subject in subjects if subject.position is not None]
    if len(subjects) == 1:
        positions = [0.0]
    if material.stances and len(positions) == len(subjects):
        values = np.stack([answers.prefer for answers in support])
        topics = stance_drift(
            material.stances, values, positions, resamples=config.resamples, seed=config.seed
        )
    return points, topics
