"""``pluralign annotate`` and ``agree``: trajectories x rater -> annotations.jsonl, and agreement of
raters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.annotate.agreement import agreement
from pluralign.annotate.annotator import ComparisonSettings, recorded_objective
from pluralign.annotate.human import export_sheet
from pluralign.annotate.open import DecideName
from pluralign.annotate.oracle import Noise
from pluralign.cli.common import Figures, Requests, say, wrote
from pluralign.core import InputError
from pluralign.core.records import read_annotations, read_trajectories
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.workflows.annotation import annotate_file
from pluralign.workflows.labels import report_kappas


def annotate_trajectories(
    file: Annotated[Path, tyro.conf.Positional],
    objective: str,
    rater: str,
    out: Path,
    comparisons: ComparisonSettings = ComparisonSettings(),  # noqa: B008 - frozen
    noise: Noise = Noise(),  # noqa: B008 - frozen
    prompt: Path | None = None,
    decide: DecideName = "agreement",
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
    dtype: DTypeName = "float32",
    story: str | None = None,
    seed: int = 0,
    tie_sigmas: float | None = None,
    rubric: Path | None = None,
) -> Figures:
    """Compare segments of trajectories, or the options of their decisions, by one objective.

    Raters: oracle (the story's own annotations), judge:MODEL (a local language model), judge:openai:MODEL (an
    endpoint), rubric:MODEL (a judge of each criterion of --rubric by itself), listwise:MODEL (a judge that
    reads all options of a decision together, each once at each place), both also with openai:MODEL,
    reward:REWARD (the higher reward by anything that score takes: a reward model, a discriminator, an
    ensemble, a classifier), human:SHEET (answers in a CSV or JSONL file; human:NAME=SHEET names the person,
    for sheets of several people), sheet (write that file, to be filled in).

    With --comparisons.of options, a game without annotations gets labels: --story writes a side file that can
    be played, learned from and steered like any story, with the objective judged_NAME. If the trajectories
    have labels already, the rater's agreement with them is reported.

    Example: pluralign annotate runs/t.jsonl --objective score --rater oracle --out runs/score.jsonl

    Example: pluralign annotate runs/t.jsonl --objective score --rater judge:smollm2-135m --decide mean
    --comparisons.of options --story stories/mine --out runs/judged.jsonl

    Example: pluralign annotate runs/t.jsonl --objective harm_avoidance --rater reward:runs/kind
    --comparisons.of options --out runs/kind.jsonl

    Args:
        file: Trajectories file (trajectories.jsonl).
        objective: Name of an objective that the trajectories were collected with.
        rater: Rater; see above.
        out: Output file.
        comparisons: Comparisons to make.
        noise: Noise of the oracle.
        prompt: Prompt file that replaces the judge's built-in prompt.
        decide: Rule for a judge's answers in both orders: a tie if they differ (agreement), or the mean of
            a local model's log-odds (mean).
        endpoint: Requests to an endpoint.
        dtype: Precision of local models; with bfloat16, rounding can change a close comparison.
        story: Story that the trajectories are from; writes STORY.pluralign.json next to --out.
        seed: Random seed of the oracle's noise and of bootstraps.
        tie_sigmas: Largest difference of two rewards that is a tie, in standard deviations of the difference;
            by default 1 (rewards without uncertainty are a tie where they are equal). For reward:REWARD only.
        rubric: Criteria of rubric:MODEL as JSON lines with name, description and, optionally, weight (by
            default 1) and veto (true: decides before criteria without a veto). They replace the objective's
            description.
    """
    if rater == "sheet":
        if story is not None:
            raise InputError("a sheet has no labels before it is filled in", field="story")
        drawn = comparisons.draw(read_trajectories(file))
        export_sheet(drawn, recorded_objective(file, objective), out)
        wrote(out, f"{len(drawn)} comparisons to fill in; then --rater human:{out} with the same options")
        return {"comparisons": len(drawn)}
    return annotate_file(
        file, objective, rater, out, comparisons=comparisons, story=story, seed=seed, say=say, noise=noise,
        prompt=prompt, decide=decide, endpoint=endpoint, dtype=dtype, tie_sigmas=tie_sigmas,
        rubric=rubric,
    )  # fmt: skip


def agree(
    one: Annotated[Path, tyro.conf.Positional],
    other: Annotated[Path, tyro.conf.Positional],
    seed: int = 0,
) -> Figures:
    """Cohen's kappa between two raters, over the comparisons that both rated.

    Example: pluralign agree runs/oracle.jsonl runs/judge.jsonl

    Args:
        one: Annotations file of one rater (annotations.jsonl).
        other: Annotations file of the other rater.
        seed: Random seed of the bootstrap.
    """
    found = agreement(read_annotations(one), read_annotations(other), seed=seed)
    report_kappas(found, say)
    return asdict(found)
