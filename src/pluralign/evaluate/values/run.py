"""Audits of several models in turn: weightings of a mixture, or checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.evaluate.report.summary import versions
from pluralign.evaluate.values.answers import Answers, consistency, split_answered
from pluralign.evaluate.values.audit import AuditConfig, ValueAudit, audit_values
from pluralign.evaluate.values.drift import TopicDrift, require_ascending, stance_drift
from pluralign.evaluate.values.outcomes import (
    Lottery,
    Outcome,
    Process,
    load_lotteries,
    load_outcomes,
    load_processes,
)
from pluralign.evaluate.values.report import AuditPoint, ValuesReport
from pluralign.evaluate.values.stances import StanceQuestion, load_stances, read_stances
from pluralign.evaluate.values.subjects import Subject


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


def load_material(
    outcomes: str | Path | None = None, lotteries: str | Path | None = None,
    processes: str | Path | None = None, stances: str | Path | None = None,
) -> Material:  # fmt: skip
    """What is asked, from files; None where there is none.

    Args:
        outcomes: File of outcomes; see `load_outcomes`.
        lotteries: File of lotteries; see `load_lotteries`.
        processes: File of Markov processes; see `load_processes`.
        stances: File of questions about stances; see `load_stances`.

    Raises:
        InputError: A file cannot be read, or has another form.
    """
    return Material(
        load_outcomes(outcomes) if outcomes else (),
        load_lotteries(lotteries) if lotteries else (),
        load_processes(processes) if processes else (),
        load_stances(stances) if stances else (),
    )


def audit_subjects(
    subjects: Sequence[Subject],
    material: Material,
    config: AuditConfig | None = None,
    *,
    out: str | Path,
    done: Callable[[AuditPoint], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ValuesReport:
    """Audit one after the other; an interrupted run continues.

    >>> from tempfile import TemporaryDirectory
    >>> asked = Material([Outcome("It rains."), Outcome("The sun shines."), Outcome("It snows.")])
    >>> with TemporaryDirectory() as folder:
    ...     report = audit_subjects([Subject("first", lambda: lambda one, other: 0.9)], asked, out=folder)
    >>> [audit.passed for audit in report.audits]
    [False]

    Args:
        subjects: What to audit, such as `checkpoint_subjects` or `mixture_subjects`.
        material: What is asked.
        config: Settings.
        out: Folder for the answers; `write_values_report` writes the report.
        done: Function that is called after each audit.
        settings: Further settings for the report.

    Returns:
        Audits in the order of the subjects, and the stances by topic with their drift, if they were asked
        for along an axis, or of a single subject.

    Raises:
        InputError: Stances are to be asked of a subject that has no model, or of subjects that are not in
            the order of their positions; or see `audit_values`.
    """
    config = config or AuditConfig()
    positions = [subject.position for subject in subjects if subject.position is not None]
    if material.stances:
        # Found out before anything is asked.
        require_ascending(positions)
    points: list[AuditPoint] = []
    support: list[Answers] = []
    for subject in subjects:
        own = Path(out) / "answers" / re.sub(r"[^\w.=,-]+", "_", subject.label)
        audit: ValueAudit | None = None
        if material.outcomes:
            audit = audit_values(
                subject,
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
        if done is not None:
            done(points[-1])
    topics: list[TopicDrift] = []
    if len(subjects) == 1:
        positions = [0.0]
    if material.stances and len(positions) == len(subjects):
        values = np.stack([answers.prefer for answers in support])
        topics = stance_drift(
            material.stances, values, positions, resamples=config.resamples, seed=config.seed
        )
    axis = subjects[0].axis if subjects else ""
    return ValuesReport(points, axis, topics, settings or {}, versions())
