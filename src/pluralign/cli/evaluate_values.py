"""``pluralign evaluate values``: preferences of raters and models between outcomes, and their stances."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from pluralign.cli.common import Figures, Requests, named_policies, say, wrote
from pluralign.core import InputError, simplex_grid
from pluralign.evaluate.values.settings import AuditConfig
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.steer.suggest import constant_weights

if TYPE_CHECKING:
    from pluralign.evaluate.values.report import AuditPoint
    from pluralign.evaluate.values.run import Material, Subject

Reading = Literal["letters", "likelihood"]


@dataclass(frozen=True)
class Sources:
    """What is audited.

    Args:
        rater: Rater: judge:MODEL, judge:openai:MODEL (an endpoint), reward:REWARD, or human:SHEET.
        model: Language model, or the base model of the policies.
        policies: Policies to mix, one per objective, as NAME=DIR.
        weights: Weights of the mixture as NAME=NUMBER,NAME=NUMBER, or wish:DIAL:NAME=NUMBER,... by a
            calibrated dial.
        weights_grid: Number of steps of a grid of weights, each of which is audited.
        checkpoints: Folders of a model's checkpoints in the order of training, each of which is audited.
        reading: Answers that are read of models: letters, by their exact log-odds, or the likelihood of the
            outcome's text as the reply, per token.
        power: Power of the mixture: 1 arithmetic, 0 geometric, -1 harmonic.
    """

    rater: str = ""
    model: str = ""
    policies: tuple[str, ...] = ()
    weights: str = ""
    weights_grid: int = 0
    checkpoints: tuple[Path, ...] = ()
    reading: Reading = "letters"
    power: float = 0.0


@dataclass(frozen=True)
class Questions:
    """What is asked.

    Args:
        outcomes: Outcomes: a JSON, JSON-lines or CSV file of texts, with groups and scores by objective if
            there are any.
        lotteries: JSON file of lotteries that an outcome implies.
        processes: JSON file of Markov processes, for the test of means and ends.
        stances: JSON-lines file of questions with one answer that supports and one that opposes.
    """

    outcomes: Path | None = None
    lotteries: Path | None = None
    processes: Path | None = None
    stances: Path | None = None


def evaluate_values(
    out: Path,
    source: Annotated[Sources, tyro.conf.arg(name="")] = Sources(),
    asked: Annotated[Questions, tyro.conf.arg(name="")] = Questions(),
    audit: Annotated[AuditConfig, tyro.conf.arg(name="")] = AuditConfig(),  # noqa: B008 - frozen
    sheet: Path | None = None,
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
    dtype: DTypeName = "float32",
) -> Figures:
    """Ask a rater, a model, mixtures under weights, or checkpoints about pairs of outcomes, in both orders.

    Order consistency comes first: if too few pairs get the same answer in both orders, nothing else is
    reported. Otherwise the report has utilities, completeness, cycles, lotteries, means and ends, and the
    weights implied by objectives' scores; over a grid of weights or over checkpoints, what moves. An
    interrupted run continues.

    Example: pluralign evaluate values --model smollm2-135m --outcomes outcomes.json --out runs/values

    Example: pluralign evaluate values --checkpoints runs/x/checkpoint-* --stances stances.jsonl
    --out runs/drift

    Args:
        out: Folder for report.html, report.json and the answers.
        source: What is audited.
        asked: What is asked.
        audit: Settings of the audit.
        sheet: File (.csv or .jsonl) for a sheet to be filled in by a person, with all pairs of outcomes in
            both orders; it is written, and nothing is asked.
        endpoint: Requests to an endpoint.
        dtype: Precision of local models; auto is bfloat16 if the hardware supports it well.
    """
    # Help needs no model.
    from pluralign.evaluate.report.summary import versions
    from pluralign.evaluate.values.report import ValuesReport, write_values_report
    from pluralign.evaluate.values.run import audit_all

    material = _material(asked)
    if sheet is not None:
        return _write_sheet(sheet, material, audit)
    subjects, axis = _subjects(source, material, audit, endpoint, dtype)
    points, topics = audit_all(subjects, material, audit, out, _say_point)
    given = {f.name: getattr(part, f.name) for part in (source, asked, audit) for f in fields(part)}
    settings = {name: _plain(value) for name, value in given.items() if value not in ("", None, ())}
    report = ValuesReport(points, axis, topics, settings, versions())
    _, page = write_values_report(report, out)
    for topic in topics:
        time = "undefined" if topic.time is None else f"{topic.time:.2f}"
        moved = f", drift {topic.magnitude.with_interval()}, time {time}" if len(points) > 1 else ""
        say(f"  {topic.topic}: support {topic.support[-1]:.2f}{moved}")
    wrote(page, "report.json is next to it")
    return report.to_json()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in cast("tuple[Any, ...]", value)]
    return str(value) if isinstance(value, Path) else value


def _material(asked: Questions) -> Material:
    from pluralign.evaluate.values import outcomes, stances
    from pluralign.evaluate.values.run import Material

    if asked.outcomes is None and asked.stances is None:
        raise InputError("give --outcomes, --stances or both", field="outcomes")
    return Material(
        outcomes.load_outcomes(asked.outcomes) if asked.outcomes else (),
        outcomes.load_lotteries(asked.lotteries) if asked.lotteries else (),
        outcomes.load_processes(asked.processes) if asked.processes else (),
        stances.load_stances(asked.stances) if asked.stances else (),
    )


def _subjects(
    source: Sources, material: Material, audit: AuditConfig, endpoint: EndpointSettings, dtype: DTypeName
) -> tuple[list[Subject], str]:
    """What is audited, and the meaning of its positions."""
    from pluralign.evaluate.values.run import Subject, checkpoint_positions

    given = [bool(source.rater), bool(source.policies), bool(source.checkpoints)]
    if sum(given) > 1 or (source.model and (source.rater or source.checkpoints)):
        raise InputError(
            "give only one of --rater, --model (with --policies) and --checkpoints", field="rater"
        )
    if (source.weights or source.weights_grid) and not source.policies:
        raise InputError("weights need --policies", field="weights")
    if source.rater:
        return [Subject(source.rater, partial(_rater, source.rater, material, audit, endpoint, dtype))], ""
    if source.checkpoints:
        positions = checkpoint_positions(source.checkpoints)
        names = [str(folder) for folder in source.checkpoints]
        axis = "steps" if len(names) > 1 else ""
        labels = [Path(name).name for name in names]
        if len(set(labels)) < len(labels):
            labels = names
        found = [
            Subject(
                label, partial(_asked, name, source.reading, dtype), partial(_model, name, dtype), position
            )
            for label, name, position in zip(labels, names, positions, strict=True)
        ]
        return found, axis
    if source.policies:
        return _mixtures(source, dtype)
    if not source.model:
        raise InputError("give --rater, --model or --checkpoints", field="model")
    name = source.model
    return [Subject(name, partial(_asked, name, source.reading, dtype), partial(_model, name, dtype))], ""


def _mixtures(source: Sources, dtype: DTypeName) -> tuple[list[Subject], str]:
    from pluralign.evaluate.values.mixtures import mixtures_of
    from pluralign.evaluate.values.run import Subject

    if not source.model:
        raise InputError("policies need their base model", field="model")
    if bool(source.weights) == bool(source.weights_grid):
        raise InputError("policies need either --weights or --weights-grid", field="weights")
    folders = named_policies(source.policies, "policies")
    from pluralign.steer.policies import load_policies

    policies = load_policies(source.model, folders, dtype=dtype, power=source.power)
    first = policies.objectives[0]
    mixes = [constant_weights(source.weights)] if source.weights else []
    mixes = mixes or simplex_grid(policies.objectives, source.weights_grid)
    if len(policies.objectives) == 2 or source.weights:
        positions: list[float | None] = [None if source.weights else mix.get(first, 0.0) for mix in mixes]
    else:
        positions = [None] * len(mixes)
    found: list[Subject] = []
    for mix, position, replies in zip(mixes, positions, mixtures_of(policies, mixes), strict=True):
        found.append(
            Subject(
                mix.to_text(), partial(_read, replies, source.reading), lambda r=replies: r, position, mix
            )
        )
    return found, "" if source.weights else f"weight on {first}"


@lru_cache(maxsize=1)
def _model(name: str, dtype: DTypeName) -> Any:
    """A language model; the last one stays open, because it is asked about outcomes and about stances."""
    from pluralign.options.open import Models

    return Models(name, dtype=dtype).language_model


def _asked(name: str, reading: Reading, dtype: DTypeName) -> Any:
    return _read(_model(name, dtype), reading)


def _read(replies: Any, reading: Reading) -> Any:
    from pluralign.evaluate.values.choosers import ReplyChooser, letter_chooser

    return letter_chooser(replies) if reading == "letters" else ReplyChooser(replies)


def _rater(
    spec: str, material: Material, audit: AuditConfig, endpoint: EndpointSettings, dtype: DTypeName
) -> Any:
    from pluralign.annotate.open import open_rater
    from pluralign.evaluate.values.choosers import OUTCOMES_PROMPT

    prompt = OUTCOMES_PROMPT if spec.startswith("judge:") else None
    sheet = _both_orders(material, audit) if spec.startswith("human:") else None
    return open_rater(spec, comparisons=sheet, prompt=prompt, endpoint=endpoint, dtype=dtype)


def _both_orders(material: Material, audit: AuditConfig) -> list[Any]:
    from pluralign.evaluate.values.answers import draw_pairs
    from pluralign.evaluate.values.choosers import comparison_of

    texts = [one.text for one in material.outcomes]
    if len(texts) < 3:
        raise InputError(f"expected three or more outcomes, found {len(texts)}", field="outcomes")
    pairs, _ = draw_pairs(len(texts), audit.pairs, audit.triads, audit.seed)
    both: list[tuple[int, int]] = [*pairs.tolist(), *pairs[:, ::-1].tolist()]
    return [comparison_of(texts[i], texts[j]) for i, j in both]


def _write_sheet(sheet: Path, material: Material, audit: AuditConfig) -> Figures:
    import numpy as np

    from pluralign.annotate.human import export_sheet
    from pluralign.evaluate.values.choosers import PREFERENCE

    listed = _both_orders(material, audit)
    order = np.random.default_rng(audit.seed).permutation(len(listed)).tolist()
    export_sheet([listed[place] for place in order], PREFERENCE, sheet)
    wrote(sheet, f"{len(listed)} questions; fill in the column 'preference', then --rater human:{sheet}")
    return {"questions": len(listed)}


def _say_point(point: AuditPoint) -> None:
    from pluralign.evaluate.values.report import told_gate, told_preferences

    if point.audit is not None:
        say(told_gate(point.audit.consistency, point.label, point.audit.config.least_agreement))
        for line in told_preferences(point.audit):
            say(f"  {line}")
        found = point.audit.preferences
        if found is not None and found.weights is not None:
            mean, own = found.weights.mean, found.weights
            told = [
                f"{name} {mean[name]:.2f} ({own.interval(name)[0]:.2f} to {own.interval(name)[1]:.2f})"
                for name in mean
            ]
            say(f"  Implied weights with 90 % intervals: {', '.join(told)}")
    if point.stances is not None:
        say(f"On stances, {told_gate(point.stances, point.label, 0.0)}")
