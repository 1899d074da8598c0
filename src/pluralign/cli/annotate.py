"""``pluralign annotate`` and ``agree``: trajectories x rater -> annotations.jsonl, and how raters agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.annotate import (
    ComparisonSettings,
    Judge,
    Noise,
    Oracle,
    Rater,
    ReplyJudge,
    agreement,
    annotate,
    both_orders_agree,
    export_sheet,
    import_sheet,
    label_agreement,
    mean_of_orders,
)
from pluralign.cli.common import JsonFile, give_figures, say, wrote
from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.preference import Preference
from pluralign.core.records import read_annotations, read_header, read_trajectories
from pluralign.options.open import DEFAULT_MODEL, Models
from pluralign.workflows.labels import (
    add_to_side_file,
    is_lagged,
    plan_side_file,
    report_coverage,
    report_kappas,
    report_label_agreement,
)


def annotate_trajectories(
    file: Annotated[Path, tyro.conf.Positional],
    objective: str,
    rater: str,
    out: Path,
    comparisons: ComparisonSettings = ComparisonSettings(),  # noqa: B008 - frozen
    noise: Noise = Noise(),  # noqa: B008 - frozen
    prompt: Path | None = None,
    decide: Literal["agreement", "mean"] = "agreement",
    concurrency: int = 8,
    fast: bool = False,
    story: str | None = None,
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Compare segments of trajectories, or the options of their decisions, by one objective.

    Raters: oracle (the story's own annotations), judge:MODEL (a local language model), judge:openai:MODEL (an
    endpoint), human:SHEET (answers in a CSV or JSONL file), sheet (write that file, to be filled in).

    With --comparisons.of options a game without annotations gets labels: --story has a side file written that
    is played, learned and steered like any story, with the objective judged_NAME. How far a rater agrees with
    labels that the trajectories have is told.

    Example: pluralign annotate runs/t.jsonl --objective score --rater oracle --out runs/score.jsonl

    Example: pluralign annotate runs/t.jsonl --objective score --rater judge:smollm2-135m --decide mean
    --comparisons.of options --story stories/mine --out runs/judged.jsonl

    Args:
        file: trajectories.jsonl.
        objective: one of those that the trajectories were collected with.
        rater: see above.
        out: the file to write.
        comparisons: what is compared.
        noise: how the oracle errs.
        prompt: a file to use in place of the judge's prompt.
        decide: each pair is put to a judge in both orders; what the answers disagree on is a tie
            (agreement), or a local model's log-odds are averaged over both orders (mean).
        concurrency: requests to an endpoint under way at once.
        fast: a local judge computes in bfloat16 where the machine is fast at it; its rounding can tip a close
            call.
        story: that the trajectories are of; STORY.pluralign.json beside --out puts the labels to it.
        seed: of the oracle's noise, and of bootstraps.
        json: a file for the figures.
    """
    trajectories = read_trajectories(file)
    wanted = recorded_objective(file, objective)
    options = comparisons.of == "options"
    if story is not None and not options:
        raise InputError("goes with --comparisons.of options", field="story")
    if rater == "sheet":
        drawn = comparisons.draw(trajectories)
        export_sheet(drawn, wanted, out)
        wrote(out, f"{len(drawn)} comparisons to fill in; then --rater human:{out} with the same options")
        return
    lagged = options and is_lagged(file, trajectories)
    if lagged and rater == "oracle":
        raise InputError(
            "its steps count what led to them, as MACHIAVELLI's own code does: that is no label of an option",
            path=file,
        )
    side = None if story is None else plan_side_file(story, file, out, wanted)
    report = annotate(
        file,
        out,
        wanted,
        _rater(
            rater,
            trajectories,
            comparisons,
            Judging(prompt, DECISIONS[decide], concurrency, fast),
            Oracle(trajectories, noise=noise, seed=seed),
        ),
        settings=comparisons,
    )
    if report.unanswered:
        say(f"{report.unanswered} comparisons have no answer")
    if report.malformed_replies:
        say(f"{report.malformed_replies} malformed replies")
    wrote(out, f"{report.annotations} annotations, {report.preferences.get('tie', 0)} of them ties")
    if options:
        report_coverage(read_annotations(out), trajectories, say)
    if side is not None and report.annotations:
        names = ", ".join(add_to_side_file(side))
        wrote(side.path, f"the story with {names}: --story {side.path}")
    elif side is not None:
        say("no side file: there is no annotation to label anything with")
    figures = report.as_json()
    if options and rater != "oracle" and not lagged:
        found = label_agreement(read_annotations(out), trajectories, wanted, seed=seed)
        report_label_agreement(found, wanted, say)
        figures["agreement_with_labels"] = found and found.as_json()
    give_figures(figures, json)


def agree(
    one: Annotated[Path, tyro.conf.Positional],
    other: Annotated[Path, tyro.conf.Positional],
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Cohen's kappa between two raters over the comparisons that both rated.

    Example: pluralign agree runs/oracle.jsonl runs/judge.jsonl

    Args:
        one: annotations.jsonl of a rater.
        other: annotations.jsonl of another.
        seed: of the bootstrap.
        json: a file for the figures.
    """
    found = agreement(read_annotations(one), read_annotations(other), seed=seed)
    report_kappas(found, say)
    give_figures(asdict(found), json)


def recorded_objective(file: Path, name: str) -> Objective:
    """The objective of this name as the header of a trajectories file has it.

    Raises:
        InputError: it is not there.
    """
    header = read_header(file, "trajectories")
    recorded = {o["name"]: o for o in header.get("objectives", [])}
    if name not in recorded:
        raise InputError(
            f"unknown objective '{name}'; the trajectories have {', '.join(sorted(recorded)) or 'none'}",
            path=file,
            field="objective",
        )
    return Objective(**recorded[name])


@dataclass(frozen=True)
class Judging:
    """How a language model judges: the prompt's file, the rule, requests under way at once, the precision."""

    prompt: Path | None
    decide: Callable[[Sequence[float]], Preference]
    concurrency: int
    fast: bool


DECISIONS = {"agreement": both_orders_agree, "mean": mean_of_orders}


def _rater(
    text: str,
    trajectories: list[Trajectory],
    comparisons: ComparisonSettings,
    judging: Judging,
    oracle: Oracle,
) -> Rater:
    kind, _, rest = text.partition(":")
    match kind, rest:
        case "oracle", "":
            return oracle
        case "human", sheet if sheet:
            return import_sheet(sheet, comparisons.draw(trajectories))
        case "judge", model if model.startswith("openai:"):
            from pluralign.lm.endpoint import Endpoint

            endpoint = Endpoint(model.removeprefix("openai:"), concurrency=judging.concurrency)
            return ReplyJudge(endpoint, prompt=judging.prompt)
        case "judge", model:
            scorer = Models(
                model or DEFAULT_MODEL, dtype="auto" if judging.fast else "float32"
            ).language_model
            return Judge(scorer, prompt=judging.prompt, decide=judging.decide)
        case _:
            raise InputError(
                f"unknown rater '{text}'; known: oracle, judge:MODEL, judge:openai:MODEL, human:SHEET, sheet",
                field="rater",
            )
