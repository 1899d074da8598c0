"""``pluralign evaluate values``: preferences of raters and models between outcomes, and their stances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from pluralign.cli.common import Figures, Requests, named_policies, refuse, say, wrote
from pluralign.core import InputError, simplex_grid
from pluralign.evaluate.values.settings import AuditConfig, Reading
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.suggest import constant_weights

if TYPE_CHECKING:
    from pluralign.evaluate.values.run import Material
    from pluralign.evaluate.values.subjects import Subject


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
    power: float = GEOMETRIC


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
    from pluralign.evaluate.values.report import describe_point, write_values_report
    from pluralign.evaluate.values.run import audit_subjects, load_material
    from pluralign.evaluate.values.sheet import write_outcome_sheet

    if asked.outcomes is None and asked.stances is None:
        raise InputError("give --outcomes, --stances or both", field="outcomes")
    if asked.outcomes is None:
        refuse("requires --outcomes", lotteries=asked.lotteries, processes=asked.processes, sheet=sheet)
    material = load_material(asked.outcomes, asked.lotteries, asked.processes, asked.stances)
    if sheet is not None:
        written = write_outcome_sheet(material.outcomes, sheet, audit)
        wrote(sheet, f"{written} questions; fill in the column 'preference', then --rater human:{sheet}")
        return {"questions": written}
    subjects = _subjects(source, material, audit, endpoint, dtype)
    given = {f.name: getattr(part, f.name) for part in (source, asked, audit) for f in fields(part)}
    settings = {name: _plain(value) for name, value in given.items() if value not in ("", None, ())}
    report = audit_subjects(
        subjects, material, audit, out=out, settings=settings,
        done=lambda point: say("\n".join(describe_point(point))),
    )  # fmt: skip
    _, page = write_values_report(report, out)
    for topic in report.topics:
        time = "undefined" if topic.time is None else f"{topic.time:.2f}"
        moved = f", drift {topic.magnitude.with_interval()}, time {time}" if len(report.points) > 1 else ""
        say(f"  {topic.topic}: support {topic.support[-1]:.2f}{moved}")
    wrote(page, "report.json is next to it")
    return report.to_json()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in cast("tuple[Any, ...]", value)]
    return str(value) if isinstance(value, Path) else value


def _subjects(
    source: Sources, material: Material, audit: AuditConfig, endpoint: EndpointSettings, dtype: DTypeName
) -> Sequence[Subject]:
    from pluralign.evaluate.values import subjects

    given = [bool(source.rater), bool(source.policies), bool(source.checkpoints)]
    if sum(given) > 1 or (source.model and (source.rater or source.checkpoints)):
        raise InputError(
            "give only one of --rater, --model (with --policies) and --checkpoints", field="rater"
        )
    if (source.weights or source.weights_grid) and not source.policies:
        raise InputError("weights need --policies", field="weights")
    if source.power != GEOMETRIC and not source.policies:
        raise InputError("requires --policies", field="power")
    if source.rater:
        if source.reading != Sources.reading:
            raise InputError("is of models; a rater answers by itself", field="reading")
        outcomes = material.outcomes
        return [subjects.rater_subject(source.rater, outcomes, audit, endpoint=endpoint, dtype=dtype)]
    if source.checkpoints:
        return subjects.checkpoint_subjects(source.checkpoints, reading=source.reading, dtype=dtype)
    if source.policies:
        return _mixtures(source, dtype)
    if not source.model:
        raise InputError("give --rater, --model or --checkpoints", field="model")
    return [subjects.model_subject(source.model, reading=source.reading, dtype=dtype)]


def _mixtures(source: Sources, dtype: DTypeName) -> Sequence[Subject]:
    from pluralign.evaluate.values.subjects import mixture_subjects
    from pluralign.steer.policies import load_policies

    if not source.model:
        raise InputError("policies need their base model", field="model")
    if bool(source.weights) == bool(source.weights_grid):
        raise InputError("policies need either --weights or --weights-grid", field="weights")
    folders = named_policies(source.policies, "policies")
    policies = load_policies(source.model, folders, dtype=dtype, power=source.power)
    mixes = [constant_weights(source.weights)] if source.weights else []
    mixes = mixes or simplex_grid(policies.objectives, source.weights_grid)
    return mixture_subjects(policies, mixes, reading=source.reading)
